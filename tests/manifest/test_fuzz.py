"""No manifest, however mangled, gets anything but an explained refusal."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from altgrad_core import AltgradError
from altgrad_core.manifest.load import ManifestFile, load_manifest
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.resolve import resolve

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


@given(tables)
@settings(max_examples=300, deadline=None)
def test_any_tables_are_resolved_or_refused_with_a_message(data: dict[str, Any]) -> None:
    assert is_refused_or_resolved(ManifestFile(Path("m.toml"), "", data))


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused_with_a_message_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.toml"
    path.write_bytes(content)
    with pytest.raises(AltgradError) as caught:
        resolve(load_manifest(path), installed())
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("rounds", [pytest.param(600), pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutations_of_a_valid_manifest_are_resolved_or_refused(tmp_path: Path, tiny: Path, rounds: int) -> None:
    chance, valid = random.Random(0), tiny.read_text()
    path = tmp_path / "m.toml"
    for _ in range(rounds):
        text = valid
        for _ in range(chance.randint(1, 4)):
            place, length = chance.randrange(len(text)), chance.randint(0, 6)
            text = (
                text[:place]
                + chance.choice(["", '"', "[", "=", "-1", "x", "\n", "9e999", "{", "'", "#"])
                + text[place + length :]
            )
        path.write_text(text)
        try:
            source = load_manifest(path)
        except AltgradError as error:
            assert str(path) in str(error)
        else:
            assert is_refused_or_resolved(source)
