"""What a study declared before it was trained: the hypothesis, the margin and the analysis, with a date and a hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from altgrad_core.records.directory import REGISTRATION
from altgrad_core.records.files import read_json, write_json

SCHEMA = 1


@dataclass(frozen=True)
class Registration:
    """One declaration, made when a command planned the study.

    Attributes:
        date: of that moment, UTC, ISO 8601, by the clock of the machine.
        sha256: of the manifest, see `matrix.registration.hash_of`.
        ended: how many cells had ended by then; 0 where the declaration came before all results.
        hypothesis, margin, analysis: as the manifest has them; the margin in the unit of the loss.
    """

    date: str
    sha256: str
    ended: int
    hypothesis: str
    margin: float
    analysis: str

    @classmethod
    def of(cls, table: object) -> Registration | None:
        """The declaration in a table of the file; None where it is damaged."""
        kinds: Mapping[str, type | tuple[type, ...]] = {
            "date": str, "sha256": str, "ended": int, "hypothesis": str, "margin": (int, float), "analysis": str
        }  # fmt: skip
        if not isinstance(table, dict) or not all(isinstance(table.get(key), kind) for key, kind in kinds.items()):
            return None
        return cls(**{key: table[key] for key in kinds})


def read_registrations(study: Path) -> tuple[Registration, ...]:
    """The declarations of a study, the oldest first; none where there is no file.

    Raises:
        OSError: the file cannot be read.
        RunError: it is damaged.
    """
    from altgrad_core.errors import RunError

    path = study / REGISTRATION
    if not path.exists():
        return ()
    tables = read_json(path).get("registrations")
    result = [Registration.of(table) for table in tables] if isinstance(tables, list) else [None]
    if not all(result):
        raise RunError(f"{path}: is damaged: expected a list of registrations; put the file back")
    return tuple(registration for registration in result if registration is not None)


def write_registrations(study: Path, registrations: Sequence[Registration]) -> None:
    """Write all of them, whole or not at all."""
    tables: list[dict[str, Any]] = [asdict(registration) for registration in registrations]
    write_json(study / REGISTRATION, {"schema": SCHEMA, "registrations": tables})
