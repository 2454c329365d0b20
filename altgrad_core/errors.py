"""What can go wrong, as a message to the user says it: where, what came, what was expected, what to try."""

from pathlib import Path

LIBRARIES = frozenset({"altgrad_core", "importlib", "importlib_metadata", "pluggy", "pydantic"})
"""Modules in which nobody looks for the fault of a plugin."""

MOST_LETTERS = 2000  # of the text of an error


class AltgradError(Exception):
    """Any failure AltGrad explains in one message instead of a traceback."""


class FormatError(AltgradError, ValueError):
    """A number format, rounding or scaling that cannot be: its facts contradict each other or a value does not fit."""


class ManifestError(AltgradError):
    """The manifest or the command line asks for something that cannot be assembled (exit code 2)."""


class PluginError(AltgradError):
    """A plugin is missing, broken, or broke its contract (exit code 2)."""


class RunError(AltgradError):
    """An environment error under a correct manifest: disk, lock, damaged checkpoint, missing device (exit code 1)."""


def reason_of(error: BaseException) -> str:
    """The type and text of what code of a plugin raised, whose text may fail too."""
    try:
        text = str(error)
    except BaseException as worse:  # code of a plugin as well
        text = f"(its text cannot be made: {type(worse).__name__})"
    more = f"... ({len(text):,} characters)" if len(text) > MOST_LETTERS else ""
    return f"{type(error).__name__}: {text[:MOST_LETTERS]}{more}"


def place_of(error: BaseException) -> str:
    """` (file, line)` of the last line outside AltGrad that an error came through; empty where there is none."""
    found, step = "", error.__traceback__
    while step is not None:
        path, module = Path(step.tb_frame.f_code.co_filename), str(step.tb_frame.f_globals.get("__name__"))
        if path.suffix == ".py" and module.partition(".")[0] not in LIBRARIES:
            found = f" ({path.name}, line {step.tb_lineno})"
        step = step.tb_next
    return found
