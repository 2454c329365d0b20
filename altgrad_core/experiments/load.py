"""`altgrad_core.load(directory)`: a run or a study as data frames and figures, for notebooks and scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altgrad_core.contracts.reading import recorded_facts
from altgrad_core.errors import PluginError, RunError
from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.heading import heading
from altgrad_core.experiments.evidence.tables import evaluations, tables
from altgrad_core.experiments.plots import Plot
from altgrad_core.experiments.study.study import Result, Study
from altgrad_core.records.record import number
from altgrad_core.registry.registry import suggestion

if TYPE_CHECKING:
    from pandas import DataFrame


def load(directory: str | Path) -> RunResult | StudyResult:
    """What is in the directory of a run, or of a study, finished or not; damage is left out and listed in `problems`.

    Raises:
        ManifestError: it is neither, or a newer version wrote it.
    """
    path = Path(directory)
    study = Study.read(path)
    is_run = len(study.results) == 1 and study.results[0].directory.resolve() == path.resolve()
    return RunResult(study) if is_run else StudyResult(study)


@dataclass(frozen=True)
class Loaded:
    """What runs and studies have in common. Frames need pandas: `pip install "altgrad[pandas]"`."""

    study: Study

    @cached_property
    def analysis(self) -> Analysis:
        """Arms, effects, contrasts and controls, each computed once."""
        return Analysis(self.study)

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, or not be trusted: sentences."""
        return self.study.problems

    @property
    def plot(self) -> Plot:
        """Figures."""
        return Plot(self.analysis)

    def losses(self) -> DataFrame:
        """One row for each training step and each evaluation: `phase` is `train` or `validation`, in nats per token."""
        rows = []
        for result in self.study.results:
            summary = result.run_summary
            for phase, losses in (("train", summary.losses), ("validation", summary.evaluations)):
                rows += [(*_place(result), phase, step, loss) for step, loss in losses.items()]
        return _frame((*PLACE, "phase", "step", "loss"), rows)

    def evaluations(self) -> DataFrame:
        """One row for each recipe of `[[evaluate]]` and each cell: the loss of the trained weights under it."""
        table = evaluations(self.analysis)
        return _frame(table.columns, table.rows)

    def readings(self, *names: str) -> DataFrame:
        """One row for each value of each layer that monitors reported; of the readings named, or of all.

        Raises:
            RunError: no monitor here has a reading of this name.
        """
        rows, known = [], set[str]()
        for result in self.study.results:
            for record in result.records():
                if record["kind"] == "began":
                    known |= recorded_facts(record).keys()
                elif record["kind"] == "reading":
                    known.add(record["reading"])
                    rows += _rows(result, record) if not names or record["reading"] in names else []
        if stranger := next((name for name in names if name not in known), None):
            hint = suggestion(stranger, sorted(known))
            raise RunError(f'no monitor in {self.study.directory} has a reading "{stranger}"{hint}')
        return _frame((*PLACE, "reading", "step", "layer", "value"), rows)

    def __repr__(self) -> str:
        ended = sum(result.has_ended for result in self.study.results)
        return f"<{type(self).__name__} {self.study.name}: {ended} of {len(self.study.results)} ended; {heading(self.analysis)}>"

    def _repr_html_(self) -> str:
        from altgrad_core.experiments.load_html import loaded_html

        return loaded_html(self.analysis)


def _rows(result: Result, record: Mapping[str, Any]) -> list[tuple[object, ...]]:
    """One for each layer of a reading."""
    place = (*_place(result), record["reading"], record["step"])
    return [(*place, layer, number(value)) for layer, value in record["values"].items()]


@dataclass(frozen=True, repr=False)
class StudyResult(Loaded):
    """A study."""

    @property
    def cells(self) -> DataFrame:
        """One row for each cell: its labels, how it ended, its validation loss."""
        return self._table("cells")

    def effects(self) -> DataFrame:
        """What each optimizer gains over the baseline in each format, with intervals, in nats per token."""
        result = self._table("effects")
        return result[result["metric"] == "loss"].drop(columns="metric").reset_index(drop=True)

    def contrasts(self) -> DataFrame:
        """The gain of each optimizer in one format less that in another, with intervals."""
        return self._table("contrasts")

    def _table(self, name: str) -> DataFrame:
        table = next(table for table in tables(self.analysis) if table.name == name)
        return _frame(table.columns, table.rows)


@dataclass(frozen=True, repr=False)
class RunResult(Loaded):
    """A single run."""

    @property
    def status(self) -> str:
        """How it ended: `finished`, `diverged`, `stopped`, `crashed` or `unfinished`."""
        return self.study.results[0].status

    @property
    def validation_loss(self) -> float | None:
        """In nats per token at the end; None unless it finished."""
        return self.study.results[0].validation_loss

    @property
    def manifest(self) -> dict[str, Any]:
        """The resolved manifest."""
        return self.study.results[0].manifest


PLACE = ("format", "optimizer", "variant", "rate", "seed", "cell")


def _place(result: Result) -> tuple[Any, ...]:
    return result.format, result.optimizer, result.variant, result.rate, result.seed, result.name


def _frame(columns: tuple[str, ...], rows: Any) -> DataFrame:
    try:
        from pandas import DataFrame
    except ModuleNotFoundError:
        raise PluginError('frames need pandas, which is not installed; pip install "altgrad[pandas]"') from None
    return DataFrame.from_records(list(rows), columns=list(columns))
