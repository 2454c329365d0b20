"""Text from elsewhere: made safe for a terminal and a spreadsheet, and judged as the name of a directory."""

from __future__ import annotations

LATEST = "latest"
"""The link beside the runs that points at the newest of them."""
LONGEST_NAME = 200
"""Bytes of a name; file systems take 255, and some files are named after it."""


def printable(text: str) -> str:
    """`text` with every character that could steer a terminal written as an escape, such as `\\x1b`.

    Line ends and tabs stay; so does everything that a person can read. Controls, the marks that turn the direction of
    writing, and code points without a character are escaped.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t " else _escaped(c) for c in text)


def as_bytes(text: str) -> bytes:
    """`text` as UTF-8 for a file. Half a surrogate pair, as which Python reads a byte of a file name that is no UTF-8, is an escape."""
    return text.encode(errors="backslashreplace")


def cell(value: object) -> object:
    """A value as a cell of CSV: empty for None, and text that a spreadsheet would take for a formula behind a `'`."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def plural(role: str) -> str:
    """The operands of a role in words: `queries` of `query`, `weights for input gradient` of `weight_for_input_gradient`."""
    words, what, other = role.replace("_", " ").partition(" for ")
    return (f"{words[:-1]}ies" if words.endswith("y") and words[-2:] != "ey" else f"{words}s") + what + other


def unusable_name(name: str) -> str | None:
    """Why a run may not be called `name`, after which its directory is called; None where it may."""
    if name == LATEST:
        return f'"{LATEST}" is the name of the link to the newest run'
    if len(name.encode(errors="surrogatepass")) > LONGEST_NAME:
        return f"it has more than {LONGEST_NAME} bytes"
    if name in ("", ".", "..") or "/" in name or "\\" in name or not name.isprintable():
        return f"{name!r} is not a valid name of a directory"
    return None


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
