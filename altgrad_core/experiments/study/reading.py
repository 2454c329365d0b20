"""Reads the files of a study, whole or damaged, and notes what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from altgrad_core.errors import ManifestError, RunError
from altgrad_core.experiments.study.declared import Declared
from altgrad_core.experiments.study.labels import Defaults, installed_defaults
from altgrad_core.experiments.study.parts import Parts
from altgrad_core.experiments.study.registration import Registration, read_registrations
from altgrad_core.experiments.study.result import Result
from altgrad_core.experiments.study.subjects import is_manifest
from altgrad_core.experiments.study.wording import count, few
from altgrad_core.files import read_whole
from altgrad_core.records.directory import REGISTRATION, RunDirectory
from altgrad_core.records.files import read_json
from altgrad_core.results.ending import Ending

SCHEMA = 1
CELLS = "cells.json"


@dataclass(frozen=True)
class Planned:
    """What `cells.json` tells of a study, or the folders where there is none.

    Attributes:
        baseline: the one that was asked for.
        cells: as they were planned.
        defaults: by optimizer, its options; those of what is installed where they were not recorded.
        declared: what the optimizers declare of their options.
        bits: the width of formats, by name.
        margin: a difference in loss that is too small to matter, in nats per token.
        confirms: whether the manifest declares a hypothesis.
    """

    name: str
    baseline: str | None
    cells: list[dict[str, Any]]
    defaults: Defaults
    declared: Declared = field(default_factory=Declared)
    bits: Mapping[str, int] = field(default_factory=dict)
    margin: float | None = None
    confirms: bool = False


@dataclass
class Reader:
    """Reads the files of a study, and notes what is wrong with them."""

    directory: Path
    problems: list[str] = field(default_factory=list)
    parts: Parts = field(default_factory=Parts)

    def listed(self) -> Planned:
        """The study as it was planned."""
        plan, name = self._plan(), self.directory.resolve().name
        if plan is not None:
            text = str(plan.get("name") or name)
            recorded = _tables(plan.get("optimizers"))
            defaults = installed_defaults() if recorded is None else recorded
            widths = plan.get("formats") if isinstance(plan.get("formats"), dict) else {}
            bits = {format: width for format, width in (widths or {}).items() if isinstance(width, int)}
            margin = plan.get("margin")
            is_margin = isinstance(margin, int | float) and not isinstance(margin, bool) and margin > 0
            baseline = _text(plan.get("baseline"))
            size = float(margin or 0) if is_margin else None
            declared, confirms = Declared.read(plan.get("declared")), plan.get("confirms") is True
            return Planned(text, baseline, self._cells(plan), defaults, declared, bits, size, confirms)
        if _is_run(self.directory):
            return Planned(name, None, [{"name": "."}], {})
        studies = self._studies()
        if not (result := self._folders()):
            below = f"; there is a study in it: altgrad report {self.directory / studies[0]}" if studies else ""
            raise ManifestError(
                f"{self.directory}: is neither a study nor a run: it has no {CELLS} and no records.jsonl, nor has any "
                f"folder in it; a study is what altgrad run MANIFEST leaves in its directory{below}"
            )
        if studies:
            text = f"{len(studies)} studies below it are" if len(studies) > 1 else "a study below it is"
            self.problems.append(
                f"{self.directory}: {text} left out ({few(studies)}); see: altgrad report {self.directory / studies[0]}"
            )
        return Planned(name, None, [{"name": name} for name in result], installed_defaults(), Declared.installed())

    def registrations(self, plan: Planned) -> tuple[Registration, ...]:
        """What the study declared before it was trained."""
        path, unknown = self.directory / REGISTRATION, "when the hypothesis was declared is not known"
        try:
            result = read_registrations(self.directory)
        except (OSError, RunError):
            self.problems.append(f"{path}: cannot be read; {unknown}")
            return ()
        if plan.confirms and not result:
            self.problems.append(f"{path}: is missing; {unknown}")
        return result

    def _plan(self) -> dict[str, Any] | None:
        path = self.directory / CELLS
        if not path.exists():
            return None
        plan = self._json(path, "the cells are those whose folders are there")
        if plan and isinstance(schema := plan.get("schema"), int) and schema > SCHEMA:
            version = plan.get("version", "newer than this one")
            raise ManifestError(
                f"{path}: was written by a newer version of AltGrad ({version}, schema {schema}; this one reads schema "
                f"{SCHEMA}); update AltGrad to read it"
            )
        return plan or None

    def _cells(self, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
        listed = plan.get("cells")
        cells = listed if isinstance(listed, list) else []
        sound = [cell for cell in cells if isinstance(cell, dict) and _is_name(cell.get("name"))]
        if len(sound) < len(cells) or not isinstance(listed, list):
            self.problems.append(f"{self.directory / CELLS}: has entries that are not cells; they are left out")
        names = {cell["name"] for cell in sound}
        if strangers := [name for name in self._folders() if name not in names]:
            verb = "is" if len(strangers) == 1 else "are"
            text = f"{count(len(strangers), 'more folder')} with runs that {verb} not in {CELLS} and {verb} left out"
            self.problems.append(f"{self.directory}: has {text}: {few(strangers)}")
        return sound

    def _folders(self) -> list[str]:
        if not self.directory.is_dir():
            return []
        folders = [path for path in self.directory.iterdir() if path.is_dir() and not path.is_symlink()]
        return sorted(path.name for path in folders if _is_run(path))

    def _studies(self) -> list[str]:
        """The folders that are studies of their own."""
        if not self.directory.is_dir():
            return []
        folders = [path for path in self.directory.iterdir() if path.is_dir() and not path.is_symlink()]
        return sorted(path.name for path in folders if (path / CELLS).is_file())

    def result(self, cell: Mapping[str, Any]) -> Result:
        """One cell, not yet labelled."""
        place = RunDirectory(self.directory / cell["name"])
        name = self.directory.resolve().name if cell["name"] == "." else cell["name"]
        manifest = self._toml(place.resolved)
        summary = self._json(place.summary, "the run counts as unfinished")
        environment = self._json(place.environment, "where it ran is not known", parse=self.parts.json)
        failure = self._json(place.failure_data, "how it failed is not known")
        self._check_version(name, environment)
        ending = _ending(place, summary, failure)
        result = Result(
            name, place.path, manifest, ending, "", "", None, None, "", environment,
            _text(cell.get("identity")), _text(cell.get("role")) or "cell",
        )  # fmt: skip
        self._check_records(result)
        return result

    def _check_version(self, name: str, environment: Mapping[str, Any]) -> None:
        from altgrad_core import __version__

        versions = environment.get("versions")
        made_by = versions.get("altgrad") if isinstance(versions, dict) else None
        if isinstance(made_by, str) and _release(made_by) > _release(__version__):
            self.problems.append(
                f"{name}: a run made by a newer version of AltGrad ({made_by}; this is {__version__}); "
                "what it records may be read wrongly"
            )

    def _check_records(self, result: Result) -> None:
        path, summary = RunDirectory(result.directory).records, result.run_summary
        if result.status != "missing" and not path.is_file():
            self.problems.append(f"{result.name}: has no records.jsonl; only its summary is used")
        if summary.problem is not None:
            self.problems.append(f"{result.name}: {summary.problem}")
        if result.status == "finished" and result.validation_loss is None:
            self.problems.append(f"{result.name}: finished, but its summary has no validation loss")
        if result.summary.get("status") == "finished" and result.status == "diverged":
            self.problems.append(f"{result.name}: ended with a loss that is not finite; it counts as diverged")

    def _toml(self, path: Path) -> dict[str, Any]:
        try:
            if is_manifest(data := self.parts.toml(read_whole(path).decode())):
                return data
            self.problems.append(f"{path}: is no resolved manifest, so its settings are known only from {CELLS}")
        except FileNotFoundError:
            if _is_run(path.parent):
                self.problems.append(f"{path}: is missing, so its settings are known only from {CELLS}")
        except (OSError, ValueError, RecursionError):
            self.problems.append(f"{path}: cannot be read, so its settings are known only from {CELLS}")
        return {}

    def _json(self, path: Path, consequence: str, parse: Callable[[bytes], Any] = json.loads) -> dict[str, Any]:
        try:
            return read_json(path, parse=parse)
        except FileNotFoundError:
            return {}
        except (OSError, RunError):
            self.problems.append(f"{path}: cannot be read; {consequence}")
            return {}


def _tables(data: Any) -> Defaults | None:
    """Tables of options by name; None where they were not recorded, or are damaged."""
    if not isinstance(data, dict) or not all(isinstance(table, dict) for table in data.values()):
        return None
    return data


def _is_run(path: Path) -> bool:
    place = RunDirectory(path)
    return place.records.is_file() or place.resolved.is_file() or place.summary.is_file()


def _is_name(name: Any) -> bool:
    """Whether this can be the name of a folder within the study."""
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _ending(place: RunDirectory, summary: Mapping[str, Any], failure: Mapping[str, Any]) -> Ending:
    """How a cell ended, or that it has not."""
    reason = _text(summary.get("reason")) or _text(failure.get("reason"))
    ending = Ending.of(summary) if _is_run(place.path) else None
    if ending is not None:
        return replace(ending, reason=reason)
    status = "unfinished" if _is_run(place.path) else "missing"
    return Ending("crashed" if failure.get("status") == "crashed" else status, reason=reason, summary=summary)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    numbers = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
