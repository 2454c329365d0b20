"""Functions are short, and take few parameters."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("altgrad_core", "plugins") for path in (ROOT / folder).rglob("*.py"))
MOST_PARAMETERS = 8
LONGEST_MEDIAN, LONGEST_OF_NINE_IN_TEN = 7, 18  # lines
EXCEPTIONS = {
    ("plugins/altgrad_layers/attention.py", "forward"): "those of torch.nn.MultiheadAttention.forward",
    ("plugins/altgrad_layers/attend.py", "attention"): "those of torch's scaled_dot_product_attention",
    ("altgrad_core/numerics/walk.py", "walk"): "one for each quantity of the formula",
    ("altgrad_core/numerics/walk.py", "stochastic_walk"): "one for each quantity of the formula",
    ("altgrad_core/experiments/figures/heat.py", "number_table"): "one for each text of the figure",
}


def is_exempt(path: str, function: ast.FunctionDef) -> bool:
    """A command has its options as parameters; a kernel has what it works on, one by one."""
    is_command = path == f"altgrad_core/cli/{function.name}.py"
    return is_command or bool({"kernels", "triton"} & set(Path(path).parts))


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Every function of the project with the path of its file."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield str(path.relative_to(ROOT)), node


def parameters(function: ast.FunctionDef) -> int:
    """How many parameters a caller may give."""
    of = function.args
    names = [argument.arg for argument in (*of.posonlyargs, *of.args, *of.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"])) + (of.vararg is not None) + (of.kwarg is not None)


def test_a_function_takes_at_most_8_parameters() -> None:
    many = {(path, f.name) for path, f in functions() if parameters(f) > MOST_PARAMETERS and not is_exempt(path, f)}
    assert many == set(EXCEPTIONS)  # an exception that is no longer needed is removed


def test_functions_do_not_grow() -> None:
    lines = [(f.end_lineno or f.lineno) - f.lineno + 1 for _, f in functions()]
    assert median(lines) <= LONGEST_MEDIAN
    assert quantiles(lines, n=10)[-1] <= LONGEST_OF_NINE_IN_TEN
