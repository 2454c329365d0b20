"""Files of runs and studies: written whole or not at all, read with a clear error where they are damaged."""

from __future__ import annotations

import errno
import json
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from altgrad_core.errors import RunError
from altgrad_core.files import read_whole

UNABLE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
MOST_JSON_BYTES = 2**28
AFTER_A_POWER_CUT = "after a power cut the newest checkpoint may be missing"


def write_whole(path: Path, content: bytes) -> None:
    """Write beside, wait for the disk, rename over `path`; a failure leaves the old file and no leftovers.

    Raises:
        OSError: it cannot be written; the error names `path`, never the file beside it.
    """
    beside = path.with_name(name_beside(path))
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
    sync_directory(path.parent)


def name_beside(path: Path) -> str:
    """What a file or directory is called before it takes the place of `path`."""
    return f".{path.name}.{os.getpid()}.tmp"


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_whole(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def read_json(path: Path, *, parse: Callable[[bytes], Any] = json.loads) -> dict[str, Any]:
    """The JSON object in a file of a run or of a study.

    Args:
        parse: as `json.loads`.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger than 256 MiB.
        RunError: it holds something else.
    """
    try:
        value = parse(read_whole(path, most=MOST_JSON_BYTES))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise RunError(
            f"{path}: is damaged: expected a JSON object; put the file back, or remove it to continue without it"
        )
    return value


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk; a file system that cannot do that goes without, with a warning.

    Windows opens no directories, and has nothing to wait for.
    """
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
        warnings.warn(
            f"the file system does not sync directories ({error.strerror}): {AFTER_A_POWER_CUT}", stacklevel=1
        )
    finally:
        os.close(descriptor)
