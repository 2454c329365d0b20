"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import json
import os
import warnings
from pathlib import Path
from typing import Any

UNABLE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
AFTER_A_POWER_CUT = "after a power cut the newest checkpoint may be missing"


def write_whole(path: Path, content: bytes) -> None:
    """Write beside, wait for the disk, rename over `path`; a failure leaves the old file and no leftovers."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_whole(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk; a file system that cannot do that goes without, with a warning."""
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
