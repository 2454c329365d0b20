"""Broken plugins are listed with the reason, and harm nobody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import altgrad_core
from altgrad_core.registry.discover import Plugin
from altgrad_core.registry.registry import Registry, installed

GOOD = """
    from altgrad_core import Format, hookimpl

    class Thirds(Format):
        "Thirds from -1 to 1."
        name = "thirds"
        bits = 3
        def decode(self, code):
            return (code - 3) / 3

    @hookimpl
    def altgrad_formats():
        yield Thirds()
"""
FORMAT = """
    from altgrad_core import Format, Minifloat, hookimpl

    def named(name):
        return Minifloat(4, 3, name=name)
"""
MONITOR = """
    from typing import ClassVar
    from altgrad_core import Monitor, hookimpl

    class Largest(Monitor):
        "Largest weight."
        name: ClassVar = "largest"
        def observe(self, event):
            return {}
"""

BROKEN = {
    "import error": (
        "import no_such_module_anywhere",
        "ModuleNotFoundError: No module named 'no_such_module_anywhere' (sad_plugin.py, line 1)",
    ),
    "syntax error": ("def", "SyntaxError: invalid syntax (sad_plugin.py, line 1)"),
    "interrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt (sad_plugin.py, line 1)"),
    "generator exit": ("raise GeneratorExit('gone')", "GeneratorExit: gone (sad_plugin.py, line 1)"),
    "no text": (
        "class Mute(BaseException):\n    def __str__(self):\n        raise ValueError\nraise Mute",
        "Mute: (its text cannot be made: ValueError) (sad_plugin.py, line 4)",
    ),
    "exit": ("import sys\nsys.exit('I need a licence')", "called sys.exit(I need a licence) while loading"),
    "wrong signature": (
        FORMAT + "\n    @hookimpl\n    def altgrad_formats(config):\n        yield named('x')",
        "Plugin 'sad_plugin' for hook 'altgrad_formats' hookimpl definition: altgrad_formats(config) Argument(s) "
        "{'config'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "unknown hook": (
        FORMAT + "\n    @hookimpl\n    def altgrad_format():\n        yield named('x')",
        "unknown hook 'altgrad_format'; did you mean \"altgrad_formats\"?",
    ),
    "raising hook": (
        FORMAT + "\n    @hookimpl\n    def altgrad_formats():\n        yield named('x')\n        raise KeyError('y')",
        "KeyError: 'y' (sad_plugin.py, line 10)",
    ),
    "exit in a hook": (
        FORMAT + "\n    @hookimpl\n    def altgrad_formats():\n        raise SystemExit(3)",
        "called sys.exit(3) while loading",
    ),
    "no iterable": (
        FORMAT + "\n    @hookimpl\n    def altgrad_formats():\n        return named('x')",
        "TypeError: altgrad_formats returned <format x>; expected an iterable: yield each item",
    ),
    "nothing": (
        FORMAT + "\n    @hookimpl\n    def altgrad_formats():\n        pass",
        "TypeError: altgrad_formats returned None; expected an iterable: yield each item",
    ),
    "class in place of an instance": (
        FORMAT + "\n    @hookimpl\n    def altgrad_formats():\n        yield Minifloat",
        "altgrad_formats yielded <class 'altgrad_core.numerics.minifloat.Minifloat'>; expected an instance of Format",
    ),
    "instance in place of a class": (
        MONITOR + "\n    @hookimpl\n    def altgrad_monitors():\n        yield Largest()",
        "altgrad_monitors yielded Largest(every=1, start=0, end=None, layers='*'); expected a subclass of Monitor",
    ),
    "an item of another kind": (
        MONITOR + "\n    @hookimpl\n    def altgrad_optimizers():\n        yield Largest",
        "altgrad_optimizers yielded <class 'sad_plugin.Largest'>; expected a subclass of OptimizerSpec",
    ),
    "abstract class": (
        "from typing import ClassVar\nfrom altgrad_core import Monitor, hookimpl\n"
        "class Half(Monitor):\n    name: ClassVar = 'half'\n"
        "@hookimpl\ndef altgrad_monitors():\n    yield Half",
        "altgrad_monitors yielded Half, which does not define observe",
    ),
    "bad name": (
        FORMAT + "\n    @hookimpl\n    def altgrad_formats():\n        yield named('my format!')",
        "altgrad_formats yielded <format my format!> with the name 'my format!'; expected lower-case "
        "letters, digits, '.', '_', '-', set by name = \"my-name\"",
    ),
    "no name": (
        MONITOR.replace('        name: ClassVar = "largest"\n', "")
        + "\n    @hookimpl\n    def altgrad_monitors():\n        yield Largest",
        "altgrad_monitors yielded <class 'sad_plugin.Largest'> with the name ''; expected lower-case "
        "letters, digits, '.', '_', '-', set by name: ClassVar = \"my-name\"",
    ),
    "one name twice": (
        FORMAT + "\n    @hookimpl\n    def altgrad_formats():\n        yield named('x')\n        yield named('X')",
        'the format name "x" is also offered by sad-plugin 1.2 (sad_plugin) itself',
    ),
    "name of a built-in": (
        FORMAT + "\n    @hookimpl\n    def altgrad_formats():\n        yield named('E4M3')",
        f'the format name "e4m3" is also offered by altgrad {altgrad_core.__version__} (minifloat)',
    ),
    "decode that raises": (
        "from altgrad_core import Format, hookimpl\nclass Inverse(Format):\n    name = 'inverse'\n"
        "    def decode(self, code): return 1 / code\n@hookimpl\ndef altgrad_formats(): yield Inverse()",
        'format "inverse": decode(0) raised ZeroDivisionError: division by zero (sad_plugin.py, line 4); '
        "expected a float for every code from 0 to 255",
    ),
    "decode that returns nothing": (
        "from altgrad_core import Format, hookimpl\nclass Even(Format):\n    name = 'even'\n    bits = 2\n"
        "    def decode(self, code):\n        if code % 2 == 0:\n            return code\n"
        "@hookimpl\ndef altgrad_formats(): yield Even()",
        'format "even": decode(1) returned None, expected a float (sad_plugin.py, line 5); does every branch of it return a '
        "number?",
    ),
    "decode beyond float32": (
        "from altgrad_core import Format, hookimpl\nclass Large(Format):\n    name = 'large'\n    bits = 2\n"
        "    def decode(self, code): return 1e39 * code\n@hookimpl\ndef altgrad_formats(): yield Large()",
        'format "large": code 1 is 1e+39, outside the range of float32 (sad_plugin.py, line 5); use smaller values, or '
        "math.inf",
    ),
    "one value": (
        "from altgrad_core import Format, hookimpl\nclass One(Format):\n    name = 'one'\n"
        "    def decode(self, code): return 1.0\n@hookimpl\ndef altgrad_formats(): yield One()",
        'format "one": a format needs at least two distinct finite values, this table has 1 (sad_plugin.py, line 4)',
    ),
    "impossible option": (
        MONITOR.replace('name: ClassVar = "largest"', 'name: ClassVar = "largest"\n        first: "Nowhere" = 1')
        + "\n    @hookimpl\n    def altgrad_monitors():\n        yield Largest",
        "monitor largest: the types of its options cannot be checked: PydanticUndefinedAnnotation: name 'Nowhere' is not "
        "defined",
    ),
    "no mark": (
        FORMAT + "\n    def altgrad_formats():\n        yield named('x')",
        "no hook is implemented: mark a function such as altgrad_formats with @hookimpl",
    ),
    "keyboard-like exception group": (
        "raise ExceptionGroup('two', [ValueError(1), ValueError(2)])",
        "ExceptionGroup: two (2 sub-exceptions) (sad_plugin.py, line 1)",
    ),
}


def plugin(registry: Registry, distribution: str) -> Plugin:
    """The only plugin of a distribution."""
    (found,) = [p for p in registry.plugins if p.distribution == distribution]
    return found


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_listed_with_its_reason_and_the_others_work(case: str, install: Callable[..., Path]) -> None:
    source, reason = BROKEN[case]
    before = {(entry.kind, entry.name) for entry in installed()}
    install("sad-plugin", source)
    install("good-plugin", GOOD, version="0.3")
    registry = installed()
    sad = plugin(registry, "sad-plugin")
    assert sad.broken == reason
    assert "\n" not in sad.broken
    assert sad.source == "sad-plugin 1.2 (sad_plugin)"
    assert registry.broken == (sad,)
    assert {(entry.kind, entry.name) for entry in registry} == before | {("format", "thirds")}
    assert registry.get("format", "thirds").decode(0) == -1.0


def test_of_two_strangers_with_one_name_neither_wins(install: Callable[..., Path]) -> None:
    install("good-plugin", GOOD)
    install("other-plugin", GOOD, version="7")
    registry = installed()
    assert {p.source: p.broken for p in registry.broken} == {
        "good-plugin 1.2 (good_plugin)": 'the format name "thirds" is also offered by other-plugin 7 (other_plugin)',
        "other-plugin 7 (other_plugin)": 'the format name "thirds" is also offered by good-plugin 1.2 (good_plugin)',
    }
    assert "thirds" not in registry.names("format")


def test_a_hook_that_is_not_marked_offers_nothing(install: Callable[..., Path]) -> None:
    install("good-plugin", GOOD.replace("@hookimpl\n", "\n"))
    assert plugin(installed(), "good-plugin").offers == ()


def test_a_manifest_that_needs_a_broken_plugin_is_told_why(
    install: Callable[..., Path], altgrad: Callable[..., Any], tiny: Path
) -> None:
    install("sad-plugin", "import no_such_module_anywhere")
    tiny.write_text(tiny.read_text().replace('"flips"', '"spectrum"'))
    said = altgrad("run", tiny, "--out", tiny.parent / "out")
    assert said.code == 2
    (line,) = [number for number, text in enumerate(tiny.read_text().splitlines(), 1) if "spectrum" in text]
    assert said.err == (
        f'altgrad: {tiny}:{line}: monitor[0].use: no monitor "spectrum"; there is '
        f"{', '.join(installed().names('monitor'))} (plugins that could not be loaded: sad-plugin 1.2 (sad_plugin): "
        "ModuleNotFoundError: No module named 'no_such_module_anywhere' (sad_plugin.py, line 1))\n"
    )


def test_a_manifest_that_needs_nothing_of_a_broken_plugin_runs(
    install: Callable[..., Path], altgrad: Callable[..., Any], tiny: Path
) -> None:
    install("sad-plugin", "raise SystemExit")
    assert altgrad("run", tiny, "--out", tiny.parent / "out", "--steps", 1).code == 0


def test_a_near_miss_is_guessed() -> None:
    with pytest.raises(Exception, match="no monitor") as caught:
        installed().get("monitor", "flip")
    assert str(caught.value) == 'no monitor "flip"; did you mean "flips"?'


@pytest.mark.parametrize("chosen", ["", "nothing, at-all"])
def test_third_parties_can_be_left_out(
    chosen: str, install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("good-plugin", GOOD)
    monkeypatch.setenv("ALTGRAD_LOAD_PLUGINS", chosen)
    assert {p.distribution for p in installed().plugins} == {"altgrad"}
    assert "e4m3" in installed().names("format")


@pytest.mark.parametrize("chosen", ["good-plugin", "good_plugin", "x, good-plugin ,y"])
def test_third_parties_can_be_chosen_by_distribution_or_entry_point(
    chosen: str, install: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("good-plugin", GOOD)
    install("sad-plugin", "raise ValueError")
    monkeypatch.setenv("ALTGRAD_LOAD_PLUGINS", chosen)
    assert [p.distribution for p in installed().plugins if p.distribution != "altgrad"] == ["good-plugin"]


@pytest.mark.parametrize("finder", ["importlib.metadata", "importlib_metadata"])
def test_a_half_removed_distribution_harms_nobody(finder: str, install: Callable[..., Path], site: Path) -> None:
    pytest.importorskip(finder)  # the second one replaces the finder of the first
    for name in ("ghost", "wraith"):
        folder = site / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "entry_points.txt").write_text(f"[altgrad]\n{name} = {name}\n")
    install("good-plugin", GOOD)
    assert {p.source: p.broken for p in installed().broken} == {
        "unknown unknown (ghost)": "ModuleNotFoundError: No module named 'ghost'",
        "unknown unknown (wraith)": "ModuleNotFoundError: No module named 'wraith'",
    }
    assert "thirds" in installed().names("format")
