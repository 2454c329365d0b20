"""Who may import whom, read from the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from altgrad_core.registry.kinds import KINDS

ROOT = Path(__file__).parents[2]
CORE = ROOT / "altgrad_core"
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/__init__.py"))
HEAVY = {
    "torch", "numpy", "numba", "wandb", "trackio", "tiktoken", "safetensors", "tensorboard", "scipy", "matplotlib", "jinja2", "datasets", "tokenizers", "pyarrow", "pandas", "transformers", "lightning", "accelerate", "peft", "dash", "plotly", "flask",
    "werkzeug",
}  # fmt: skip

LEVELS = (
    ("errors", "text", "files"), ("numerics",), ("contracts",), ("registry", "manifest", "records"), ("results",),
    ("running",), ("experiments", "testing", "integrations"), ("dashboard",), ("cli",), ("__main__",),
)  # fmt: skip
MAY_IMPORT = {
    name: {lower for below in LEVELS[:level] for lower in below} for level, names in enumerate(LEVELS) for name in names
}
LIGHT = ("contracts", "registry", "manifest", "errors.py", "text.py", "files.py", "__init__.py", "numerics/format.py", "numerics/minifloat.py", "numerics/grid.py")  # fmt: skip


@lru_cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(node: ast.AST, *, at_load: bool = False) -> Iterator[str]:
    """Every module that is imported below a node; `at_load`: only by lines that run when the module is loaded."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield child.module or ""
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif at_load and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        elif at_load and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from imports(ast.Module(child.orelse, []), at_load=True)
        else:
            yield from imports(child, at_load=at_load)


def package(module: str) -> str | None:
    """The package of `altgrad_core.PACKAGE.file`; public names have none."""
    parts = module.split(".")
    return parts[1] if parts[0] == "altgrad_core" and len(parts) > 1 else None


def python_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.py")) if "__pycache__" not in path.parts]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def package_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


FILES = [path for path in python_files(CORE) if path != CORE / "__init__.py"]
PLUGIN_FILES = [path for plugin in PLUGINS for path in python_files(plugin)]
LIGHT_FILES = [path for path in FILES if relative(path).removeprefix("altgrad_core/").startswith(LIGHT)]


def offenders(paths: list[Path], wrong: Callable[[Path], Iterable[str]]) -> dict[str, list[str]]:
    """The files in which something is wrong, and what."""
    assert paths
    return {relative(path): found for path in paths if (found := sorted(wrong(path)))}


def test_every_package_has_its_level() -> None:
    assert {package_of(path) for path in FILES} <= set(MAY_IMPORT)


def test_a_package_imports_only_the_packages_below_it() -> None:
    def wrong(path: Path) -> set[str]:
        own = package_of(path)
        used = {found for module in imports(tree(path)) if (found := package(module)) in MAY_IMPORT}
        return used - {own} - MAY_IMPORT[own]

    assert offenders(FILES, wrong) == {}


def test_the_core_does_not_import_its_own_public_names() -> None:
    def wrong(path: Path) -> set[str]:
        names = {m for m in imports(tree(path)) if package(m) not in MAY_IMPORT and m.startswith("altgrad_core.")}
        return names - {"altgrad_core.__version__"}  # which is defined there

    assert offenders(FILES, wrong) == {}


def test_the_core_names_no_plugin() -> None:
    hooks = {kind.hook for kind in KINDS.values()}  # one of our packages has the name of its hook
    names = [plugin.name for plugin in PLUGINS if plugin.name not in hooks]

    def wrong(path: Path) -> list[str]:
        text = path.read_text()
        return [name for name in names if name in text]

    assert offenders(FILES, wrong) == {}


def test_nothing_imports_the_folder_of_the_plugins() -> None:
    def wrong(path: Path) -> list[str]:
        return [module for module in imports(tree(path)) if module.split(".")[0] == "plugins"]

    assert offenders([*FILES, *PLUGIN_FILES], wrong) == {}


def test_a_plugin_imports_public_names_and_itself_alone() -> None:
    def wrong(path: Path) -> list[str]:
        own = path.relative_to(ROOT / "plugins").parts[0]
        ours = {module for module in imports(tree(path)) if module.split(".")[0].startswith("altgrad")}
        return [m for m in ours if m.split(".")[0] not in ("altgrad_core", own) or package(m) in MAY_IMPORT]

    assert offenders(PLUGIN_FILES, wrong) == {}


def test_light_files_and_entry_points_load_nothing_heavy() -> None:
    def wrong(path: Path) -> set[str]:
        return {module.split(".")[0] for module in imports(tree(path), at_load=True)} & HEAVY

    assert offenders([*LIGHT_FILES, *(plugin / "__init__.py" for plugin in PLUGINS)], wrong) == {}


def test_a_report_is_written_without_torch_and_numba() -> None:
    modules = [f"altgrad_core.{name}" for name in ("cli.written", "experiments.paper", "experiments.report.write")]
    code = f"import importlib, sys\nfor m in {modules}: importlib.import_module(m)\nprint({{'torch', 'numba'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_loading_the_light_packages_loads_neither_torch_nor_numpy() -> None:
    modules = [relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in LIGHT_FILES]
    modules += ["altgrad_core", "altgrad_core.testing", "altgrad_core.cli.main", *(plugin.name for plugin in PLUGINS)]
    code = f"import importlib, sys\nfor m in {modules}: importlib.import_module(m)\nprint(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


TRAIN_WITH_EVERY_OPTIMIZER = """
import sys, torch, altgrad_core as ag
from altgrad_core import testing
from altgrad_core.numerics.tracing import constant_when_traced
from altgrad_core.registry.registry import installed

def train(optimizer, model):
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())

print(len([getattr(testing, name) for name in testing.__all__]), ag.watch.__name__, ag.load_format("e4m3"))
for name in installed().names("optimizer"):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    plan = ag.quantize_model(model, [ag.Rule(layers="*", weight="e4m3")])
    train(ag.build_optimizer(name, plan.params(), groups=[{"layers": "1", "use": "sgd"}]), model)
ag.fake_quantize(torch.ones(3).double(), ag.load_format("e4m3"))
test_frameworks, integrations = {"pytest", "hypothesis"}, {"transformers", "lightning", "accelerate", "peft"}
compilers = {"torch._dynamo", "altgrad_core.numerics.triton.flat"}
print("adamw" in installed().names("optimizer"), (test_frameworks | integrations | compilers) & set(sys.modules))
marked = torch.compiler.assume_constant_result(lambda: 1)
print(vars(marked) == vars(constant_when_traced(lambda: 1)))
"""


def test_training_on_a_cpu_loads_no_compiler_but_numba_no_integration_and_no_test_framework() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_WITH_EVERY_OPTIMIZER], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == (f"{len(KINDS)} watch <format e4m3>\nTrue set()\nTrue\n", "")
