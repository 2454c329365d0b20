"""The whole report of a study: its answer and its sections, in order."""

from __future__ import annotations

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.answer import Answer
from altgrad_core.experiments.evidence.heading import heading
from altgrad_core.experiments.report.blocks import Page
from altgrad_core.experiments.report.sections.answers import answers_section
from altgrad_core.experiments.report.sections.controls import controls_section
from altgrad_core.experiments.report.sections.effects import effects_section
from altgrad_core.experiments.report.sections.failures import failures_section
from altgrad_core.experiments.report.sections.layers import layers_section
from altgrad_core.experiments.report.sections.lines import lines_section
from altgrad_core.experiments.report.sections.losses import losses_section
from altgrad_core.experiments.report.sections.provenance import provenance_section
from altgrad_core.experiments.report.sections.statistics import statistics_section
from altgrad_core.experiments.report.sections.summary import summary_blocks
from altgrad_core.experiments.report.sections.why import why_section
from altgrad_core.experiments.report.view import View
from altgrad_core.experiments.study.study import Study
from altgrad_core.experiments.study.wording import count

SECTIONS = (
    answers_section,
    effects_section,
    statistics_section,
    losses_section,
    layers_section,
    failures_section,
    why_section,
    lines_section,
    controls_section,
    provenance_section,
)


def build_page(analysis: Analysis, answer_: Answer) -> Page:
    """Every section, whether the records hold something for it or not."""
    view, study = View(analysis), analysis.study
    sections = tuple(section(view) for section in SECTIONS)
    title = f"{study.name}: AltGrad report"
    return Page(title, heading(analysis), answer_.cautions, _subject(study), summary_blocks(view), sections)


def _subject(study: Study) -> str:
    from altgrad_core import __version__

    ended = sum(result.has_ended for result in study.results)
    parts = [
        f"Study {study.name}",
        f"{ended} of {count(len(study.results), 'cell')} ended",
        count(len(study.formats()), "format"),
        count(len(study.optimizers()), "optimizer"),
        count(len(study.seeds()), "seed"),
    ]
    return (
        f"{'; '.join(parts)}. Reported by AltGrad {__version__} from the records in {study.directory.resolve().name}."
    )
