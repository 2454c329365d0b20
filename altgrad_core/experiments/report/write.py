"""Writing a report: the page, its markdown twin, figures and tables, each file whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from altgrad_core.errors import RunError
from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.answer import answer
from altgrad_core.experiments.evidence.tables import files as table_files
from altgrad_core.experiments.report.blocks import Panel, TextTable
from altgrad_core.experiments.report.build import build_page
from altgrad_core.experiments.report.markdown import as_markdown
from altgrad_core.experiments.report.page import as_html
from altgrad_core.experiments.report.sections.summary import answer_table
from altgrad_core.experiments.report.view import View
from altgrad_core.experiments.study.study import Study
from altgrad_core.records.files import write_whole
from altgrad_core.records.output_place import writing_error
from altgrad_core.text import as_bytes

NO_DIRECTORY = "is not a directory; choose another place with --out"
PAGE, MARKDOWN, FIGURES, TABLES = "report.html", "report.md", "figures", "tables"


@dataclass(frozen=True)
class Written:
    """What a report says, and where it is.

    Attributes:
        heading: the answer in at most 12 words.
        table: every format and optimizer, as it stands under the heading.
        sentence: the answer in full.
    """

    heading: str
    table: TextTable
    page: Path
    markdown: Path
    sentence: str
    cautions: tuple[str, ...]
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]


def write_report(directory: Path, out: Path | None = None) -> Written:
    """Read the study in `directory` and write its report into `out`, by default beside its cells.

    Raises:
        ManifestError: there is no study and no run in `directory`.
        RunError: the report cannot be written.
    """
    place = directory if out is None else out
    if out is not None and out.exists() and not out.is_dir():
        raise RunError(f"{place}: {NO_DIRECTORY}")
    if directory.is_dir() and (error := writing_error(place / PAGE)) is not None:
        raise _unwritten(place, place / PAGE, error)
    analysis = Analysis(Study.read(directory))
    answer_ = answer(analysis)
    page = build_page(analysis, answer_)
    tables = table_files(analysis)
    page = replace(page, files=_listed(tables, page.panels()))
    files = {f"{FIGURES}/{panel.name}.svg": as_bytes(f"{panel.svg}\n") for panel in page.panels()}
    files |= {f"{TABLES}/{name}": content for name, content in tables.items()}
    files |= {MARKDOWN: as_bytes(as_markdown(page)), PAGE: as_bytes(as_html(page))}
    _write(place, files)
    drawn, listed = ([place / name for name in files if name.startswith(f"{kind}/")] for kind in (FIGURES, TABLES))
    table = answer_table(View(analysis))
    return Written(
        page.heading,
        table,
        place / PAGE,
        place / MARKDOWN,
        answer_.sentence,
        answer_.cautions,
        tuple(drawn),
        tuple(listed),
    )


def _listed(tables: Mapping[str, bytes], panels: Sequence[Panel]) -> tuple[tuple[str, str], ...]:
    own = [(MARKDOWN, "the same in markdown")] + ([(f"{FIGURES}/", "every figure as SVG")] if panels else [])
    kinds = " and ".join(
        dict.fromkeys({"csv": "CSV", "parquet": "Parquet"}[name.rpartition(".")[2]] for name in tables)
    )
    return (*own, (f"{TABLES}/", f"every number as {kinds}"))


def _write(place: Path, files: Mapping[str, bytes]) -> None:
    """The page comes last, so that it never shows what is not there."""
    for name, content in files.items():
        path = place / name
        if path.parent != place and path.parent.is_symlink():
            raise RunError(
                f"{path.parent}: is a symbolic link to {path.parent.readlink()}, and nothing is written through a link; "
                "remove it, or choose another place with --out"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
        except OSError as error:
            raise _unwritten(place, path, error) from error


def _unwritten(place: Path, path: Path, error: OSError) -> RunError:
    if isinstance(error, NotADirectoryError | FileExistsError):
        return RunError(f"{place}: {NO_DIRECTORY}")
    reason = error.strerror or error
    return RunError(
        f"{path}: the report could not be written: {reason}; put that right, or choose another place with --out"
    )
