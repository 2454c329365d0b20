"""What loading plugins may cost, and may not change: imports, time, output and torch's defaults."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch

from altgrad_core.registry.registry import installed
from tests.registry.test_discover import GOOD


def test_what_a_plugin_prints_while_it_loads_does_not_spoil_the_json(
    install: Callable[..., Path], altgrad_process: Callable[..., Any]
) -> None:
    install("loud-plugin", "print('thank you for installing')")
    said = altgrad_process("list-plugins", "--json")
    assert said.err == "thank you for installing\n"
    assert json.loads(said.out)


def test_the_order_is_the_same_everywhere(install: Callable[..., Path]) -> None:
    install("zebra", "")
    install("ape", "")
    names = [(p.distribution, p.name) for p in installed().plugins]
    core = [pair for pair in names if pair[0] == "altgrad"]
    assert names == [*sorted(core), ("ape", "ape"), ("zebra", "zebra")]


def test_listing_imports_neither_torch_nor_numpy(
    install: Callable[..., Path], altgrad_process: Callable[..., Any]
) -> None:
    install(
        "last-plugin",  # its close function runs as the process ends
        """
        import atexit, sys
        heavy = ("torch", "numpy", "numba", "wandb", "tiktoken", "safetensors", "tensorboard")
        atexit.register(lambda: print(sorted(set(heavy) & set(sys.modules)), file=sys.stderr))
        """,
    )
    said = altgrad_process("list-plugins", "--json")
    assert (said.code, said.err) == (0, "[]\n")
    assert [row for row in json.loads(said.out) if row.get("warning")] == []


def test_a_plugin_that_imports_torch_is_flagged(
    install: Callable[..., Path], altgrad_process: Callable[..., Any]
) -> None:
    install("slow-plugin", GOOD.replace("from altgrad_core", "import torch\n    from altgrad_core"))
    rows = json.loads(altgrad_process("list-plugins", "--json").out)
    assert [(row["name"], row["warning"]) for row in rows if "warning" in row] == [
        ("thirds", "its entry-point module imports torch, which slows every command")
    ]


def test_a_plugin_that_takes_long_to_load_is_named(
    install: Callable[..., Path], altgrad: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("altgrad_core.registry.discover.SLOW", 0.2)
    install("slow-plugin", f"import time\ntime.sleep(0.5)\n{dedent(GOOD)}")
    told = altgrad("list-plugins")
    assert (told.code, told.err) == (0, "altgrad: still loading the plugin slow-plugin (slow_plugin) after 0.2 s\n")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("torch.set_default_dtype(torch.float64)", "default type of torch to torch.float64"),
        ("torch.set_default_device('meta')", "default device of torch to meta"),
        ("torch.set_grad_enabled(False)", "gradients of torch to False"),
        ("torch.use_deterministic_algorithms(True)", "deterministic algorithms of torch to True"),
        ("torch.set_flush_denormal(True)", "flushing of subnormal numbers to True"),
        ("import os; os.chdir('/')", "working directory to /"),
        ("import os; os.umask(0o022); os.umask(0o077)", "umask to 077"),
        ("import sys; sys.setrecursionlimit(150)", "recursion limit to 150"),
        (
            "import numpy; numpy.seterr(over='raise')",
            "floating-point errors of numpy to {'divide': 'warn', 'over': 'raise', 'under': 'ignore', 'invalid': 'warn'}",
        ),
        ("torch.set_num_threads(3)", "number of threads of torch to 3"),
    ],
)
def test_a_plugin_that_changes_the_settings_of_the_process_is_named_and_they_are_restored(
    install: Callable[..., Path], tiny: Path, altgrad: Callable[..., Any], line: str, told: str
) -> None:
    plain = altgrad("run", tiny, "--out", tiny.parent / "plain")
    install("sad-plugin", f"import torch\n{line}\n{dedent(GOOD)}")
    said = altgrad("run", tiny, "--out", tiny.parent / "run")
    warning = (
        f"altgrad: warning: the plugin sad-plugin (sad_plugin) set the {told} while loading; AltGrad has undone that\n"
    )
    assert (plain.code, said.code) == (0, 0)
    assert said.err.startswith(warning)
    assert (torch.get_default_dtype(), torch.get_num_threads()) == (torch.float32, 1)
    records = [(tiny.parent / name / "records.jsonl").read_bytes() for name in ("plain", "run")]
    assert records[0] == records[1]
