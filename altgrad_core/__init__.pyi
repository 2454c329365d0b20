"""Every public name, and the room it lives in. The front door reads this file; so do type checkers and editors."""

from .errors import (
    AltgradError as AltgradError,
    FormatError as FormatError,
    ManifestError as ManifestError,
    PluginError as PluginError,
    RunError as RunError,
)
from .numerics.adamw import (
    adam_direction as adam_direction,
    adamw_step as adamw_step,
    begin_moments as begin_moments,
)
from .numerics.format import (
    Float32 as Float32,
    Format as Format,
)
from .numerics.geometry import (
    Geometry as Geometry,
)
from .numerics.grid import (
    Grid as Grid,
)
from .numerics.minifloat import (
    Minifloat as Minifloat,
)
from .numerics.quantizer import (
    Quantizer as Quantizer,
    decode as decode,
    encode as encode,
    fake_quantize as fake_quantize,
)
from .numerics.random import (
    derive_key as derive_key,
)
from .numerics.scaling import (
    Scaling as Scaling,
)
from .numerics.tally import (
    Tally as Tally,
)
from .contracts.actions import (
    Action as Action,
    ClipGradients as ClipGradients,
    ScaleLearningRate as ScaleLearningRate,
    SkipStep as SkipStep,
    Stop as Stop,
    SwitchFormat as SwitchFormat,
)
from .contracts.dataset import (
    DatasetSpec as DatasetSpec,
    TokenData as TokenData,
)
from .contracts.events import (
    WHOLE_MODEL as WHOLE_MODEL,
    Backpropagated as Backpropagated,
    Began as Began,
    Ended as Ended,
    Evaluated as Evaluated,
    Event as Event,
    OperandFacts as OperandFacts,
    Updated as Updated,
    Weight as Weight,
)
from .contracts.intervention import (
    Intervention as Intervention,
)
from .contracts.model import (
    ModelSpec as ModelSpec,
)
from .contracts.monitor import (
    Monitor as Monitor,
    Readings as Readings,
)
from .contracts.optimizer import (
    OptimizerSpec as OptimizerSpec,
)
from .contracts.options import (
    ManifestPath as ManifestPath,
    Options as Options,
)
from .contracts.plugin import (
    hookimpl as hookimpl,
)
from .contracts.tracker import (
    RunFacts as RunFacts,
    Tracker as Tracker,
    TrackerSpec as TrackerSpec,
)
from .running.library import (
    build_optimizer as build_optimizer,
    load_format as load_format,
    quantize_model as quantize_model,
)
from .running.plan import (
    Plan as Plan,
)
from .running.recipe import (
    Rule as Rule,
)

__version__: str
