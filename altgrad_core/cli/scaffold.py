"""The package of a new plugin: the example of its hook under another name, its test, a manifest and a README."""

from __future__ import annotations

import inspect
import re
from importlib.resources import files
from textwrap import dedent

from altgrad_core.contracts import hookspecs
from altgrad_core.registry.kinds import KINDS

TABLES = {
    "model": '[model]\nuse = "{name}"\n',
    "dataset": '[data]\nuse = "{name}"\nbatch_size = 2\n',
    "optimizer": '[optimizer]\nuse = "{name}"\n',
    "monitor": '[[monitor]]\nuse = "{name}"\n',
    "intervention": '[[intervention]]\nuse = "{name}"\n',
    "tracker": '[[tracker]]\nuse = "{name}"\n',
    "executor": '[executor]\nuse = "{name}"\n\n[matrix]\n"run.seed" = [1, 2]\n',
}
"""The tables by which a manifest uses a kind; a format is named in the recipe, a layer is found in the model."""

LAYER_MODULE = '''"""A module that the layer {name} adapts, and a small model that has one."""

import torch
from torch import nn


class GainedLinear(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * inputs**-0.5)
        self.gain = nn.Parameter(torch.ones(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * nn.functional.linear(x, self.weight)


def small_model(vocabulary: int) -> nn.Module:
    layers = nn.Embedding(vocabulary, 16), GainedLinear(16, 16), nn.Linear(16, vocabulary)
    return nn.Sequential(*layers)
'''


def package_of(kind: str, name: str) -> dict[str, str]:
    """The files of the package `altgrad-NAME`, by path.

    Args:
        kind: one of `KINDS`.
        name: of lower-case letters, digits and hyphens, beginning with a letter.
    """
    module = f"altgrad_{name.replace('-', '_')}"
    code, subject = _code(kind, name)
    extra = {f"{module}/module.py": LAYER_MODULE.format(name=name)} if kind == "layer" else {}
    return {
        "pyproject.toml": _project(name, module),
        f"{module}/__init__.py": code,
        **extra,
        f"tests/test_{module}.py": _test(kind, name, module, subject),
        "example.toml": _manifest(kind, name, module),
        "README.md": _readme(kind, name, module),
    }


def _code(kind: str, name: str) -> tuple[str, str]:
    """The example of the hook, renamed; and the name of the class that it offers."""
    text = inspect.getdoc(getattr(hookspecs, KINDS[kind].hook)) or ""
    (block,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    example = dedent(block)
    old = re.findall(r"yield (\w+)(?:\(\))?$", example, flags=re.MULTILINE)[-1]
    others = set(re.findall(r"\w+", example)) - {old}
    fresh = "".join(word.capitalize() for word in name.split("-"))
    fresh = f"{fresh}{kind.capitalize()}" if fresh in others else fresh
    head, _, tail = re.sub(rf"\b{old}\b", fresh, example).partition(f"class {fresh}(")
    tail = re.sub(r'^(    name(?:: ClassVar)? = )"[^"]+"', rf'\1"{name}"', tail, count=1, flags=re.MULTILINE)
    return f'"""The {kind} {name}. The code is an example to begin with."""\n\n{head}class {fresh}({tail}', fresh


def _project(name: str, module: str) -> str:
    return f"""[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "altgrad-{name}"
version = "0.1.0"
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["altgrad"]

[project.optional-dependencies]
testing = ["altgrad[testing]"]

[project.entry-points.altgrad]
{module.removeprefix("altgrad_")} = "{module}"

[tool.hatch.build.targets.wheel]
packages = ["{module}"]
"""


def _test(kind: str, name: str, module: str, subject: str) -> str:
    made = f"{subject}()" if kind == "format" else subject
    torch, imports, setup = "", "", ""
    if kind == "layer":
        made = f"{subject}, GainedLinear(4, 3), lambda module: module(x)"
        torch, imports = "import torch\n", f"from {module}.module import GainedLinear\n"
        setup = "    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))\n"
    return f'''"""The laws that every {kind} keeps."""

{torch}from altgrad_core.testing import check_{kind}

from {module} import {subject}
{imports}

def test_{name.replace("-", "_")}_keeps_the_laws_of_its_kind() -> None:
{setup}    check_{kind}({made})
'''


def _manifest(kind: str, name: str, module: str) -> str:
    format = name if kind == "format" else "e4m3"
    recipe = f'[[recipe]]\nlayers = "*"\nweight = {{ format = "{format}" }}\n'
    common = (files("altgrad_core.cli") / "templates" / "plugin.toml").read_text("utf-8")
    tables = dict(zip(("model", "dataset", "optimizer"), common.split("\n\n"), strict=True))
    tables = {key: text.rstrip("\n") + "\n" for key, text in tables.items()} | {"recipe": recipe}
    if kind == "layer":
        tables["model"] = f'[model]\nuse = "{module}.module:small_model"\n'
    if kind in TABLES:
        tables[kind] = TABLES[kind].format(name=name)
    run = f'[run]\nname = "{name}"\nsteps = 10\nevaluate_every = 5\nevaluate_batches = 1\n'
    return "\n".join(["# altgrad run example.toml\n", run, *tables.values()])


def _readme(kind: str, name: str, module: str) -> str:
    return f"""# altgrad-{name}

The {kind} `{name}`, a plugin for AltGrad. `{module}/__init__.py` holds an example to change.

```sh
pip install -e ".[testing]"
pytest
altgrad show {name}
altgrad run example.toml
```

`altgrad list-plugins --kind {kind}` lists it, or shows why it could not be loaded. The test checks the laws that every
{kind} keeps; a failure names the law.
"""
