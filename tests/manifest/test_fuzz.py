"""No manifest, however mangled, gets anything but an explained refusal."""

from __future__ import annotations

import itertools
import json
import random
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from altgrad_core import AltgradError
from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.manifest.load import ManifestFile, load_manifest
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.resolve import resolve
from tests.patience import ends_soon

leaves = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("run", "model", "data", "optimizer", "recipe", "monitor", "intervention", "tracker", "use", "format", "weight",
        "layers", "steps", "lr", "schedule", "kind")  # fmt: skip
tables = st.dictionaries(st.sampled_from(KEYS), values | st.dictionaries(st.sampled_from(KEYS), values, max_size=4))


def is_refused_or_resolved(source: ManifestFile) -> bool:
    try:
        resolve(source, installed())
    except AltgradError as error:
        return bool(str(error))
    return True


def tried(check: Callable[[Any], None], strategy: st.SearchStrategy[Any], examples: int) -> int:
    """Give examples to a check; how many there were."""
    count = itertools.count()

    @given(strategy)
    @settings(max_examples=examples, deadline=None)
    def test(value: Any) -> None:
        next(count)
        check(value)

    test()
    return next(count)


@pytest.mark.parametrize("examples", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_any_tables_are_resolved_or_refused_with_a_message(
    examples: int, record_property: Callable[[str, int], None]
) -> None:
    def check(data: dict[str, Any]) -> None:
        assert is_refused_or_resolved(ManifestFile(Path("m.toml"), "", data))

    record_property("tried", tried(check, tables, examples))


@pytest.mark.parametrize("examples", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_any_bytes_are_refused_with_a_message_that_names_the_file(
    examples: int, tmp_path: Path, record_property: Callable[[str, int], None]
) -> None:
    path = tmp_path / "m.toml"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(AltgradError) as caught:
            resolve(load_manifest(path), installed())
        assert str(path) in str(caught.value)

    record_property("tried", tried(check, st.binary(max_size=200), examples))


MATRIX = """
[matrix]
margin = 0.01
run.seed = [1, 2]
'recipe[0].weight.format' = ["e5m2", "e3m4"]
exclude = [{ run.seed = 1, 'recipe[0].weight.format' = "e5m2" }]

[matrix.confirms]
hypothesis = "One is better."
analysis = "Their means."

[matrix.search]
samples = 3
seed = 1

[matrix.search.ranges]
"optimizer.lr" = { times = [0.1, 10.0] }
"model.n_layer" = { whole = [1, 2] }

[matrix.variant]
small = { "model.n_embd" = 8 }
large = { "model.n_embd" = 16 }
"""
STRANGE: list[Any] = [None, True, -1, 0, 10**400, 1e308, "", "latest", "e4m3", "\x1b[2J", "*", "a\nb", [], {}, [[]], [{}], {"use": 3}, "x" * 5000]  # fmt: skip
PIECES = [
    "",
    '"',
    "[",
    "]",
    "=",
    "-1",
    "x",
    "\n",
    "9e999",
    "{",
    "'",
    "#",
    ":",
    "- ",
    "&a ",
    "*a",
    "\t",
    ",",
    "\0",
    "\xff",
    "null",
]


def written(data: Any, suffix: str) -> str:
    """A manifest as TOML, JSON or YAML; JSON where it cannot be written otherwise."""
    if suffix == ".yaml":
        return str(yaml.safe_dump(data))
    if suffix == ".toml":
        try:
            return tomlkit.dumps(data)
        except (ValueError, TypeError, AttributeError):
            return json.dumps(data)
    return json.dumps(data)


def mutated(value: Any, chance: random.Random) -> Any:
    """Plain data with one thing in it gone, doubled, or replaced by something strange."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.1:
        return chance.choice(STRANGE)
    if isinstance(value, dict):
        key = chance.choice(list(value))
        changed = {other: inner for other, inner in value.items() if other != key}
        if chance.random() < 0.1:
            return changed
        return {**changed, chance.choice([key, key, key, f"{key}x", "use"]): mutated(value[key], chance)}
    index = chance.randrange(len(value))
    return [*value[:index], mutated(value[index], chance), *value[index + chance.randrange(2) :]]


def broken(text: str, chance: random.Random) -> str:
    """A text with some characters gone or put in."""
    for _ in range(chance.randint(1, 4)):
        place, length = chance.randrange(len(text) + 1), chance.randint(0, 6)
        text = text[:place] + chance.choice(PIECES) + text[place + length :]
    return text


def answer(path: Path) -> str | None:
    """What is said of a manifest that is refused; None where it is resolved, every cell of it."""
    registry = installed()
    try:
        source = load_manifest(path)
        if "matrix" in source.data:
            Matrix(source, registry, most=50).cells({})
        else:
            resolve(source, registry)
    except AltgradError as error:
        return str(error)
    return None


@pytest.mark.parametrize("rounds", [pytest.param(400), pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("suffix", [".toml", ".json", ".yaml"])
@pytest.mark.parametrize("matrix", ["", MATRIX])
def test_mutations_of_a_valid_manifest_are_resolved_or_refused_with_a_place_and_at_once(
    tmp_path: Path, tiny: Path, suffix: str, matrix: str, rounds: int, record_property: Callable[[str, int], None]
) -> None:
    chance, valid = random.Random(suffix + matrix), tomllib.loads(tiny.read_text() + matrix)
    path = tmp_path / f"m{suffix}"
    tries = rounds // (4 if matrix else 2)
    record_property("tried", tries)
    for number in range(tries):
        data = valid
        for _ in range(chance.randint(0, 3)):
            data = mutated(data, chance)
        text = written(data, suffix)
        path.write_bytes((broken(text, chance) if number % 2 else text).encode(errors="surrogatepass"))
        with ends_soon(text):
            said = answer(path)
        assert said is None or all(line.startswith((str(path), "and ", " ")) for line in said.splitlines()), said
