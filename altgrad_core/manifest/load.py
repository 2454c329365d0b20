"""Read a manifest file: TOML, JSON or YAML, with `extends` followed and `--set` applied."""

from __future__ import annotations

import copy
import json
import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import tomlkit

from altgrad_core.errors import ManifestError
from altgrad_core.files import is_pipe, read_piped, read_whole
from altgrad_core.manifest.lines import Location, key_lines, line_of
from altgrad_core.manifest.merge import Data, assign, dotted, laid_over, location_of

DEEPEST = 50
MOST_LEVELS, MOST_VALUES = 100, 100_000
MOST_BYTES = 1 << 20
MOST_SECONDS = 10.0
"""How large a manifest is at most, and how long one that comes through a pipe is waited for."""
Lines = list[tuple[Path, dict[Location, int]]]
_HINT = "a manifest is a TOML file with at least [run], [model], [data] and [optimizer]"


@dataclass(frozen=True)
class ManifestFile:
    """What was read.

    Attributes:
        path: the file.
        text: its text as given.
        data: the merged tables of it, of the files it extends, and of `--set`.
        lines: for this file and each it extends, nearest first, the path and the line of every key.
        settings: keys given on the command line, with the option that gave each: `--set`, `--steps`.
    """

    path: Path
    text: str
    data: Data
    lines: tuple[tuple[Path, dict[Location, int]], ...] = ()
    settings: Mapping[Location, str] = field(default_factory=dict)

    def where(self, location: Location) -> str:
        """`FILE:LINE`, or the option that gave a key of the command line, or `FILE` where the line is not known."""
        around = [sources for sources in self.settings if location[: len(sources)] == sources]
        if around:
            return self.settings[max(around, key=len)]
        best: tuple[int, str] = (0, str(self.path))
        for path, lines in self.lines:
            for length in range(len(location), best[0], -1):
                if tuple(location[:length]) in lines:
                    best = (length, f"{path}:{line_of(location[:length], lines)}")
                    break
        inside = [
            option for sources, option in self.settings.items() if location and sources[: len(location)] == location
        ]
        return " with ".join(dict.fromkeys([best[1], *inside]))


def load_manifest(path: Path, settings: Iterable[str] = (), *, flags: Mapping[str, str] | None = None) -> ManifestFile:
    """Read `path` and everything it extends, then apply `key=value` settings.

    Args:
        settings: those of `--set`.
        flags: those that other options of the command line stand for, such as `{"--steps": "run.steps=10"}`.

    Raises:
        ManifestError: a file is missing, unreadable, binary, empty, not in its format, or extends itself.
    """
    data, text, lines = _follow(path, ())
    return _with_settings(path, text, data, lines, settings, flags or {})


def manifest_of(tables: Mapping[str, Any], settings: Iterable[str] = ()) -> ManifestFile:
    """A manifest that is given as tables, with `key=value` settings applied.

    Raises:
        ManifestError: a value is none that a manifest can have, or a setting is no `key=value`.
    """
    data = copy.deepcopy(dict(tables))
    _spell_out(data)
    loaded = _with_settings(Path("manifest"), "", data, [], settings, {})
    return replace(loaded, text=tomlkit.dumps(data))


def _with_settings(
    path: Path, text: str, data: Data, lines: Lines, settings: Iterable[str], flags: Mapping[str, str]
) -> ManifestFile:
    """What was read, with the settings of the command line."""
    sources: dict[Location, str] = {}
    for option, setting in [("--set", setting) for setting in settings] + list(flags.items()):
        location, value = _parse_setting(setting)
        if (missing := assign(data, location, value)) is not None:
            raise ManifestError(f"--set {setting}: the manifest has no {dotted(missing)}")
        sources[location] = option
    _spell_out(data)
    loaded = ManifestFile(path, text, data, tuple(lines), sources)
    try:
        _refuse_unusable(loaded, data, ())
    except RecursionError:
        raise ManifestError(f"{path}: nested too deeply, or it holds itself") from None
    return loaded


def from_settings(settings: Iterable[str], *, base: Data) -> ManifestFile:
    """What `--set key=value` settings alone say, on top of the table `base`.

    Raises:
        ManifestError: one is no `key=value`, or its value is none that an option can have.
    """
    data = copy.deepcopy(base)
    for setting in settings:
        location, value = _parse_setting(setting)
        if (missing := assign(data, location, value)) is not None:
            raise ManifestError(f"--set {setting}: there is no {dotted(missing)}")
    source = ManifestFile(Path("--set"), "", data, settings={(): "--set"})
    _refuse_unusable(source, data, ())
    return source


def with_tables(source: ManifestFile, option: str, **tables: Any) -> ManifestFile:
    """A manifest whose tables of these names are replaced, as an option of the command line asks."""
    settings = dict(source.settings)
    for name in tables:
        settings[(name,)] = option
    return replace(source, data={**source.data, **tables}, settings=settings)


def _follow(path: Path, trail: tuple[Path, ...]) -> tuple[Data, str, Lines]:
    try:
        real = path.resolve()
    except ValueError:
        raise ManifestError(f"{str(path)!r}: is not the path of a file") from None
    except (OSError, RuntimeError):  # links in a circle, as one Python or another says it
        raise ManifestError(f"{path}: cannot be read: too many levels of symbolic links") from None
    if real in trail:
        circle = " -> ".join(str(step) for step in (*trail[trail.index(real) :], real))
        raise ManifestError(f"{path}: extends itself: {circle}; remove one `extends`")
    if len(trail) >= DEEPEST:
        raise ManifestError(f"{path}: more than {DEEPEST} files extend each other")
    text = _read(path, trail)
    data = _parse(path, text)
    _spell_out(data)
    lines = [(path, key_lines(text) if path.suffix not in _PARSERS else {})]
    base = data.pop("extends", None)
    if base is None:
        if not data:
            raise ManifestError(f"{path}: the manifest is empty; {_HINT}")
        return data, text, lines
    if not isinstance(base, str):
        raise ManifestError(f"{path}: extends: expected the path of a manifest, got {base!r}")
    inherited, _, more = _follow(path.parent / base, (*trail, real))
    return laid_over(inherited, data), text, lines + more


def _spell_out(data: Data) -> None:
    """Write `weight = "e4m3"` of a rule as the table `{ format = "e4m3" }` that it stands for."""
    rules = data.get("recipe")
    for rule in rules if isinstance(rules, list) else ():
        if isinstance(rule, dict):
            rule |= {
                role: {"format": format}
                for role, format in rule.items()
                if role != "layers" and isinstance(format, str)
            }


def _read(path: Path, trail: tuple[Path, ...]) -> str:
    requested = f" (named by `extends` in {trail[-1]})" if trail else ""
    try:
        raw = _content(path, is_extended=bool(trail))
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file{requested}; {_near_manifests(path)}") from None
    except IsADirectoryError:
        raise ManifestError(f"{path}: is a directory, expected a manifest file{requested}") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}{requested}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: not a text file (byte {error.start} is not UTF-8); {_HINT}") from None
    if "\0" in text:
        raise ManifestError(f"{path}: not a text file (it holds a zero byte); {_HINT}")
    if not text.strip():
        raise ManifestError(f"{path}: the manifest is empty; {_HINT}")
    return text


def _content(path: Path, *, is_extended: bool) -> bytes:
    if not is_extended and is_pipe(path):
        return read_piped(path, most=MOST_BYTES, seconds=MOST_SECONDS)
    return read_whole(path, most=MOST_BYTES)


def _near_manifests(path: Path) -> str:
    folder = path.parent
    names = sorted(str(result) for result in folder.glob("*.toml"))[:8] if folder.is_dir() else []
    return f"manifests there: {', '.join(names)}" if names else f"there is no manifest in {folder}"


def _parse(path: Path, text: str) -> Data:
    try:
        data = _PARSERS.get(path.suffix, tomllib.loads)(text)
    except RecursionError:
        raise ManifestError(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise ManifestError(f"{path}: not readable as {path.suffix.lstrip('.').upper() or 'TOML'}: {error}") from None
    if (problem := _too_much(data)) is not None:
        raise ManifestError(f"{path}: {problem}")
    if not isinstance(data, dict):
        raise ManifestError(f"{path}: expected tables, got {type(data).__name__}; {_HINT}")
    return data


def _too_much(data: Any) -> str | None:
    """Why this is more than a manifest: YAML can hold itself, or by aliases of aliases more than any memory does."""
    count, level = 0, [data]
    for _ in range(MOST_LEVELS):
        below = list(islice((inner for value in level for inner in _members(value)), MOST_VALUES - count + 1))
        count += len(below)
        if count > MOST_VALUES:
            return f"holds more than {MOST_VALUES:,} values, those of its aliases counted each time"
        if not below:
            return None
        level = below
    return "nested too deeply, or it holds itself"


def _members(value: Any) -> Iterator[Any]:
    yield from value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | set) else ()


def _load_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise ManifestError('reading a YAML manifest needs PyYAML: pip install "altgrad[yaml]"') from None

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Refuses merges (`<<`) that grow without bound."""

        def flatten_mapping(self, node: Any) -> None:
            merged = [value for key, value in node.value if key.tag == "tag:yaml.org,2002:merge"]
            count = 0
            for part in (part for value in merged for part in (value.value if value.id == "sequence" else [value])):
                if part.id == "mapping":
                    self.flatten_mapping(part)
                    count += len(part.value)
                if count > MOST_VALUES:
                    raise yaml.YAMLError(f"its merges (<<) hold more than {MOST_VALUES:,} values")
            super().flatten_mapping(node)

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error).replace("\n", " ")) from None


_PARSERS: dict[str, Callable[[str], Any]] = {".json": json.loads, ".yaml": _load_yaml, ".yml": _load_yaml}


def _parse_setting(setting: str) -> tuple[Location, Any]:
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ManifestError(f"--set {setting}: expected KEY=VALUE, such as --set optimizer.lr=0.01")
    location = location_of(key)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text
    return location, value


def _refuse_unusable(source: ManifestFile, value: Any, location: Location) -> None:
    """Refuse what no option can be: NaN, infinities, dates and times."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ManifestError(f"{source.path}: {dotted((*location, str(key)))}: keys must be strings")
            _refuse_unusable(source, inner, (*location, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_unusable(source, inner, (*location, index))
    elif isinstance(value, float) and not math.isfinite(value):
        raise ManifestError(
            f"{source.where(location)}: {dotted(location)}: {value} is not allowed; expected a finite number"
        )
    elif value is None:
        raise ManifestError(f"{source.where(location)}: {dotted(location)}: null is not a value; leave the key out")
    elif not isinstance(value, str | int | float | bool):
        kind = type(value).__name__
        raise ManifestError(f"{source.where(location)}: {dotted(location)}: a {kind} ({value}) is not a valid option")
