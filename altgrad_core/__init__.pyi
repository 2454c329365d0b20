"""Every public name, and the file that defines it. `altgrad_core` reads this list; so do type checkers and editors."""

from .contracts.actions import (
    ROLES as ROLES,
)
from .contracts.actions import (
    Action as Action,
)
from .contracts.actions import (
    ClipGradients as ClipGradients,
)
from .contracts.actions import (
    RollBack as RollBack,
)
from .contracts.actions import (
    ScaleLearningRate as ScaleLearningRate,
)
from .contracts.actions import (
    SkipStep as SkipStep,
)
from .contracts.actions import (
    Stop as Stop,
)
from .contracts.actions import (
    SwitchFormat as SwitchFormat,
)
from .contracts.actions import (
    Warn as Warn,
)
from .contracts.dataset import (
    DatasetSpec as DatasetSpec,
)
from .contracts.dataset import (
    DataShape as DataShape,
)
from .contracts.dataset import (
    ExampleData as ExampleData,
)
from .contracts.dataset import (
    Examples as Examples,
)
from .contracts.dataset import (
    TokenData as TokenData,
)
from .contracts.events import (
    WHOLE_MODEL as WHOLE_MODEL,
)
from .contracts.events import (
    Backpropagated as Backpropagated,
)
from .contracts.events import (
    Began as Began,
)
from .contracts.events import (
    Ended as Ended,
)
from .contracts.events import (
    Evaluated as Evaluated,
)
from .contracts.events import (
    Event as Event,
)
from .contracts.events import (
    RoundedOperand as RoundedOperand,
)
from .contracts.events import (
    Updated as Updated,
)
from .contracts.events import (
    Weight as Weight,
)
from .contracts.executor import (
    LAST as LAST,
)
from .contracts.executor import (
    CellTask as CellTask,
)
from .contracts.executor import (
    Executor as Executor,
)
from .contracts.executor import (
    ExecutorSpec as ExecutorSpec,
)
from .contracts.executor import (
    Job as Job,
)
from .contracts.executor import (
    Tell as Tell,
)
from .contracts.intervention import (
    Intervention as Intervention,
)
from .contracts.layer import (
    ATTENTION as ATTENTION,
)
from .contracts.layer import (
    LayerSpec as LayerSpec,
)
from .contracts.layer import (
    Product as Product,
)
from .contracts.layer import (
    Rounding as Rounding,
)
from .contracts.model import (
    ModelSpec as ModelSpec,
)
from .contracts.monitor import (
    Monitor as Monitor,
)
from .contracts.monitor import (
    Readings as Readings,
)
from .contracts.optimizer import (
    OptimizerSpec as OptimizerSpec,
)
from .contracts.options import (
    ManifestPath as ManifestPath,
)
from .contracts.options import (
    Options as Options,
)
from .contracts.pattern import (
    matches as matches,
)
from .contracts.plugin import (
    hookimpl as hookimpl,
)
from .contracts.reading import (
    Reading as Reading,
)
from .contracts.task import (
    AnyOf as AnyOf,
)
from .contracts.task import (
    NextToken as NextToken,
)
from .contracts.task import (
    OneOf as OneOf,
)
from .contracts.task import (
    Task as Task,
)
from .contracts.task import (
    Values as Values,
)
from .contracts.tracker import (
    TrackedRun as TrackedRun,
)
from .contracts.tracker import (
    Tracker as Tracker,
)
from .contracts.tracker import (
    TrackerSpec as TrackerSpec,
)
from .contracts.width import (
    WidthScaling as WidthScaling,
)
from .errors import (
    AltgradError as AltgradError,
)
from .errors import (
    FormatError as FormatError,
)
from .errors import (
    ManifestError as ManifestError,
)
from .errors import (
    PluginError as PluginError,
)
from .errors import (
    RunError as RunError,
)
from .experiments.launch import (
    run as run,
)
from .experiments.launch import (
    study as study,
)
from .experiments.load import (
    load as load,
)
from .numerics.adamw import (
    adam_direction as adam_direction,
)
from .numerics.adamw import (
    begin_moments as begin_moments,
)
from .numerics.format import (
    Float32 as Float32,
)
from .numerics.format import (
    Format as Format,
)
from .numerics.geometry import (
    Geometry as Geometry,
)
from .numerics.lean_optimizer import (
    LeanOptimizer as LeanOptimizer,
)
from .numerics.minifloat import (
    Minifloat as Minifloat,
)
from .numerics.moves import (
    Moved as Moved,
)
from .numerics.ops import (
    decode as decode,
)
from .numerics.ops import (
    encode as encode,
)
from .numerics.ops import (
    fake_quantize as fake_quantize,
)
from .numerics.ops import (
    quantize as quantize,
)
from .numerics.ops import (
    scale_of as scale_of,
)
from .numerics.quantizer import (
    Quantizer as Quantizer,
)
from .numerics.random import (
    derive_key as derive_key,
)
from .numerics.scaling import (
    Scaling as Scaling,
)
from .numerics.sharded import (
    gathered as gathered,
)
from .numerics.sharded import (
    sharded_as as sharded_as,
)
from .numerics.split_optimizer import (
    SplitOptimizer as SplitOptimizer,
)
from .numerics.tally import (
    Tally as Tally,
)
from .numerics.walk import (
    adam_walk as adam_walk,
)
from .numerics.walk import (
    stochastic_walk as stochastic_walk,
)
from .numerics.walk import (
    update_velocity as update_velocity,
)
from .numerics.walk import (
    walk as walk,
)
from .running.assembly.library import (
    build_optimizer as build_optimizer,
)
from .running.assembly.library import (
    load_format as load_format,
)
from .running.assembly.library import (
    quantize_model as quantize_model,
)
from .running.assembly.load_program import (
    load_program as load_program,
)
from .running.assembly.load_quantized import (
    load_quantized as load_quantized,
)
from .running.evaluation.advice import (
    Choices as Choices,
)
from .running.evaluation.advice import (
    advise as advise,
)
from .running.evaluation.evaluate import (
    evaluate as evaluate,
)
from .running.model.plan import (
    Plan as Plan,
)
from .running.model.recipe import (
    Rule as Rule,
)
from .running.watching.watch import (
    Watch as Watch,
)
from .running.watching.watch import (
    watch as watch,
)

__version__: str
from .experiments.workers.processes import WorkerProcesses as WorkerProcesses
from .experiments.workers.worker import train_cell as train_cell
from .running.model.training_program import (
    step_program as step_program,
)
from .running.model.training_program import (
    training_program as training_program,
)
