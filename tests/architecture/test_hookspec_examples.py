"""The examples in the docstrings of the hooks: each is a whole plugin, and keeps the laws of its kind."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

from altgrad_core import testing
from altgrad_core.contracts import hookspecs
from altgrad_core.registry.discover import discover
from altgrad_core.registry.kinds import KINDS
from altgrad_core.registry.registry import Registry


def example(kind: str) -> str:
    """The Python block in the docstring of a hook."""
    text = inspect.getdoc(getattr(hookspecs, KINDS[kind].hook)) or ""
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    return dedent(block)


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_a_hook_is_a_plugin_that_keeps_the_laws(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"example_of_a_{kind}"
    (tmp_path / f"{module}.py").write_text(example(kind))
    monkeypatch.syspath_prepend(str(tmp_path))
    (plugin,) = discover([EntryPoint(name="example", value=module, group="altgrad")])
    assert plugin.broken is None
    assert not plugin.loads_torch
    (entry,) = Registry([plugin])
    assert entry.kind == kind
    assert entry.summary.endswith(".")
    getattr(testing, f"check_{kind}")(entry.item)


def test_every_hook_belongs_to_a_kind() -> None:
    hooks = {
        name for name, value in vars(hookspecs).items() if inspect.isfunction(value) and name.startswith("altgrad_")
    }
    assert hooks == {kind.hook for kind in KINDS.values()}


def test_the_hooks_take_no_arguments() -> None:
    assert [k for k in KINDS if inspect.signature(getattr(hookspecs, KINDS[k].hook)).parameters] == []


def test_the_kit_is_not_a_module_of_pytest() -> None:
    assert isinstance(testing, ModuleType)
