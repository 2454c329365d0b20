"""Text files as one text, with an error that names the file for everything that can be wrong with one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from altgrad_core import ManifestError

ENCODING_HINT = "convert it to UTF-8, for example with: iconv -f LATIN1 -t UTF-8"


def read_text_files(paths: Sequence[Path]) -> tuple[str, str]:
    """The files' names and their texts, in the order of `paths`; a file that is named twice is read once.

    Args:
        paths: absolute files or glob patterns; what a pattern matches is read in sorted order.

    Raises:
        ManifestError: a pattern matches nothing, or a file is empty, unreadable or no UTF-8 text.
    """
    texts: dict[Path, str] = {}
    for index, path in enumerate(paths):
        where = f"data.paths[{index}]"
        for file in matching_files(path, where=where):
            texts[file] = texts.get(file) or read_text(file, where=where)
    return ", ".join(map(str, texts)), "\n".join(texts.values())


def matching_files(path: Path, *, where: str) -> Iterable[Path]:
    """The file of this path, or the files of this pattern in sorted order; `where` is the key that has it.

    Raises:
        ManifestError: there is none.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        raise ManifestError(f'{where}: "{path}" is a directory; name its files, for example "{path}/**/*.txt"')
    # The directories that exist are names, whatever characters they hold; only the rest is a pattern.
    base = next(parent for parent in path.parents if parent.is_dir())
    pattern = str(path.relative_to(base))
    try:
        result = sorted(file for file in base.glob(pattern) if file.is_file())
    except ValueError as error:
        raise ManifestError(
            f'{where}: "{pattern}" is not a valid pattern: {error}; try one such as "**/*.txt"'
        ) from None
    if not result:
        raise ManifestError(
            f'{where}: no file matches "{pattern}" (looked in {base}); paths are relative to the manifest, and '
            '"**/*.txt" searches all folders below'
        )
    return result


def read_text(file: Path, *, where: str) -> str:
    """The text of a file that is not empty.

    Raises:
        ManifestError: it is empty, unreadable or no UTF-8 text.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ManifestError(f"{where}: cannot read {file}: {error.strerror}; check its permissions") from None
    if not raw:
        raise ManifestError(f"{where}: {file} is empty; remove it from the list or put text in it")
    if b"\0" in raw:
        is_utf16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
        hint = (
            ENCODING_HINT.replace("LATIN1", "UTF-16")
            if is_utf16
            else "leave it out, or give its encoding to iconv -t UTF-8"
        )
        raise ManifestError(f"{where}: {file} is not UTF-8 text (a zero byte at {raw.index(0)}); {hint}")
    try:
        return raw.decode("utf-8-sig")  # without the byte order mark some editors put first
    except UnicodeDecodeError as error:
        wrong = f"byte 0x{raw[error.start]:02x} at {error.start}"
        raise ManifestError(f"{where}: {file} is not UTF-8 text ({wrong}); {ENCODING_HINT}") from None
