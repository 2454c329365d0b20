"""Reads the files of a study, whole or damaged, and notes what is wrong with them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad_core.errors import ManifestError
from altgrad_core.experiments.evidence.wording import count, few
from altgrad_core.experiments.study.labels import is_manifest
from altgrad_core.experiments.study.result import Result
from altgrad_core.reading import read_whole
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.record import number

SCHEMA = 1
CELLS = "cells.json"
BEYOND_FLOAT32 = 2.0**128


@dataclass
class Reader:
    """Reads the files of a study, and notes what is wrong with them."""

    directory: Path
    problems: list[str] = field(default_factory=list)

    def listed(self) -> tuple[str, str | None, list[dict[str, Any]]]:
        """The name of the study, the baseline that was asked for, and its cells as `cells.json` has them."""
        plan = self._plan()
        if plan is not None:
            return str(plan.get("name") or self.directory.resolve().name), plan.get("baseline"), self._cells(plan)
        if _is_run(self.directory):
            return self.directory.resolve().name, None, [{"name": "."}]
        if not (found := self._folders()):
            raise ManifestError(
                f"{self.directory}: is neither a study nor a run: it has no {CELLS} and no records.jsonl, nor has any "
                f"folder in it; a study is what altgrad run MANIFEST leaves in its directory"
            )
        return self.directory.resolve().name, None, [{"name": name} for name in found]

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
            self.problems.append(f"{self.directory / CELLS}: has entries that are no cells; they are left out")
        names = {cell["name"] for cell in sound}
        if strangers := [name for name in self._folders() if name not in names]:
            verb = "is" if len(strangers) == 1 else "are"
            told = f"{count(len(strangers), 'more folder')} with runs that {verb} not in {CELLS} and {verb} left out"
            self.problems.append(f"{self.directory}: has {told}: {few(strangers)}")
        return sound

    def _folders(self) -> list[str]:
        if not self.directory.is_dir():
            return []
        folders = [path for path in self.directory.iterdir() if path.is_dir() and not path.is_symlink()]
        return sorted(path.name for path in folders if _is_run(path))

    def result(self, cell: Mapping[str, Any]) -> Result:
        """One cell, not yet labelled."""
        place = RunDirectory(self.directory / cell["name"])
        name = self.directory.resolve().name if cell["name"] == "." else cell["name"]
        manifest = self._toml(place.resolved)
        summary = self._json(place.summary, "the run counts as unfinished")
        environment = self._json(place.environment, "where it ran is not known")
        failure = self._json(place.failure_data, "how it failed is not known")
        self._check_version(name, environment)
        status, loss = _status(place, summary, failure)
        result = Result(
            name, place.path, manifest, status, "", "", None, None, "", summary, loss, environment,
            _text(cell.get("identity")), _text(cell.get("role")) or "cell",
            _text(summary.get("reason")) or _text(failure.get("reason")),
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
        path, digest = RunDirectory(result.directory).records, result.digest
        if result.status != "missing" and not path.is_file():
            self.problems.append(f"{result.name}: has no records.jsonl; only its summary is used")
        if digest.is_torn:
            self.problems.append(f"{result.name}: records.jsonl ends within a line, which is left out")
        if digest.damaged:
            told = f"{count(digest.damaged, 'damaged line')} of records.jsonl {'is' if digest.damaged == 1 else 'are'} left out"
            self.problems.append(f"{result.name}: {told}")
        if result.status == "finished" and result.validation_loss is None:
            self.problems.append(f"{result.name}: finished, but its summary has no validation loss")
        if result.summary.get("status") == "finished" and result.status == "diverged":
            self.problems.append(f"{result.name}: ended with a loss that is not finite; it counts as diverged")

    def _toml(self, path: Path) -> dict[str, Any]:
        try:
            if is_manifest(data := tomllib.loads(read_whole(path).decode())):
                return data
            self.problems.append(f"{path}: is no resolved manifest, so what the run was is told by {CELLS} alone")
        except FileNotFoundError:
            if _is_run(path.parent):
                self.problems.append(f"{path}: is missing, so what the run was is told by {CELLS} alone")
        except (OSError, ValueError, RecursionError):
            self.problems.append(f"{path}: cannot be read, so what the run was is told by {CELLS} alone")
        return {}

    def _json(self, path: Path, consequence: str) -> dict[str, Any]:
        try:
            return dict(json.loads(read_whole(path)))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, RecursionError):
            self.problems.append(f"{path}: cannot be read; {consequence}")
            return {}


def _is_run(path: Path) -> bool:
    place = RunDirectory(path)
    return place.records.is_file() or place.resolved.is_file() or place.summary.is_file()


def _is_name(name: Any) -> bool:
    """Whether this can be the name of a folder within the study."""
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _status(place: RunDirectory, summary: Mapping[str, Any], failure: Mapping[str, Any]) -> tuple[str, float | None]:
    """How a cell ended, and its validation loss where that is a result."""
    if not _is_run(place.path):
        return ("crashed" if failure.get("status") == "crashed" else "missing"), None
    status = summary.get("status")
    if status is None:
        return ("crashed" if failure.get("status") == "crashed" else "unfinished"), None
    try:
        loss = None if summary.get("validation_loss") is None else number(summary["validation_loss"])
    except (TypeError, ValueError):
        loss = None
    if status == "finished" and loss is not None and not abs(loss) < BEYOND_FLOAT32:
        return "diverged", None
    return str(status), loss if status == "finished" else None


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
