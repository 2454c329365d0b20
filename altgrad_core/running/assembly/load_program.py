"""A program of torch.export out of a file: what it needs of AltGrad is loaded before it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from altgrad_core.errors import RunError
from altgrad_core.files import open_regular

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def load_program(path: str | Path) -> ExportedProgram:
    """Load a quantized model that `torch.export.export` made in evaluation mode, or `training_program`, and `torch.export.save` wrote.

    Its outputs, and the gradients and scales of one that trains, are the same bits as in the process that exported it. It needs neither the code of the model nor the plugin of
    a format.

    Raises:
        RunError: the file is none.
    """
    import torch

    from altgrad_core.numerics import library_codes, library_training  # noqa: F401  register the operations

    try:
        open_regular(Path(path)).close()
    except FileNotFoundError:
        raise RunError(f"{path}: no such file; torch.export.save(program, path) writes one") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return torch.export.load(path)
    except Exception as error:  # torch has no error of its own for a file that is not a program
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"{path}: cannot be read as a program of torch.export: {first}") from None
