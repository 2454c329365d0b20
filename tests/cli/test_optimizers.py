"""Optimizers by import path and groups of parameters, as a user of the command line meets them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from altgrad_core.results.lines import RecordReader

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
MANIFESTS = Path(__file__).parents[2] / "docs" / "manifests.md"
LAYERS = (
    "wte, lm_head, wpe, blocks.0.ln_1, blocks.0.attn.qkv, blocks.0.attn.c_proj, blocks.0.ln_2, blocks.0.mlp.fc, "
    "blocks.0.mlp.c_proj, ln_f"
)
OWN = """
from typing import Literal, Optional, Tuple, Union

import torch

class Steady(torch.optim.Optimizer):
    def __init__(self, params, lr, beta: float = 0.5, size: "NotToBeFound" = 1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad.sign())

class Typed(Steady):
    def __init__(self, params, lr, a: Optional[float] = None, b: Tuple = (1, 2), c: Literal["x", "y"] = "x", d=(0, 1),
                 e: "float | torch.Tensor" = 1.0, f: Union[tuple[int, ...], bool] = (), g: list[str] = ()):
        assert (type(a), type(b), type(d), type(e), type(f), type(g)) == (float, tuple, tuple, float, tuple, list)
        super().__init__(params, lr)

class Unsaved(Steady):
    def step(self, closure=None):
        self.state[self.param_groups[0]["params"][0]]["odd"] = 1j

class NoRate(torch.optim.Optimizer):
    def __init__(self, params, speed=0.1):
        super().__init__(params, {"speed": speed})

class HiddenRate(torch.optim.Optimizer):
    def __init__(self, params, **options):
        super().__init__(params, {"speed": 0.1})

class Bare(torch.optim.Optimizer):
    def __init__(self):
        super().__init__([torch.ones(1)], {"lr": 0.1})
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with optimizer classes of one's own in the current directory."""
    (tmp_path / "own_optimizers.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return "own_optimizers"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("use='torch.optim:Nadam'", "optimizer.use: cannot import \"torch.optim:Nadam\": AttributeError: module 'torch.optim' has no "
         "attribute 'Nadam'; did you mean \"torch.optim:NAdam\"?"),
        ("use='torch.optimm:NAdam'", "optimizer.use: cannot import \"torch.optimm:NAdam\": ModuleNotFoundError: No module named "
         "'torch.optimm'"),
        ("use='math:pi'", 'optimizer.use: "math:pi" is 3.141592653589793; expected a class derived from torch.optim.Optimizer'),
        ("use='torch.nn:Linear'", "optimizer.use: \"torch.nn:Linear\" is <class 'torch.nn.modules.linear.Linear'>; expected a class "
         "derived from torch.optim.Optimizer"),
        ("use='torch.optim:NAdam', lrr=1", 'optimizer.lrr: torch.optim:NAdam has no option "lrr"; did you mean "lr"?'),
        ("use='torch.optim:Rprop', zzz=1", 'optimizer.zzz: torch.optim:Rprop has no option "zzz"; it takes: lr, etas, step_sizes, '
         "capturable, foreach, maximize, differentiable"),
        ("use='torch.optim:NAdam', lr='a'", 'optimizer.lr: expected a valid number, got "a"'),
        ("use='torch.optim:NAdam', lr=true", "optimizer.lr: expected a valid number, got true"),
        ("use='torch.optim:SGD', nesterov='no'", 'optimizer.nesterov: expected a valid boolean, got "no"'),
        ("use='torch.optim:NAdam', betas=0.9", "optimizer.betas: expected a valid array, got 0.9"),
        ("use='torch.optim:NAdam', betas=[0.9]", "optimizer.betas: expected more values, got [0.9]"),
        ("use='torch.optim:NAdam', betas=[0.9, 0.9, 0.9]", "optimizer.betas: expected at most 2, got [0.9, 0.9, 0.9]"),
        ("use='torch.optim:NAdam', lr=-1", "optimizer.lr: torch.optim:NAdam cannot be made: ValueError: Invalid learning rate: -1.0"),
        ("use='torch.optim:SGD', lr=0.1, momentum=0.9, weight_decay=-1",
         "optimizer.weight_decay: torch.optim:SGD cannot be made: ValueError: Invalid weight_decay value: -1.0"),
        ("use='torch.optim:SGD', nesterov=true", "optimizer.nesterov: torch.optim:SGD cannot be made: ValueError: Nesterov momentum "
         "requires a momentum and zero dampening"),
        ("use='torch.optim:LBFGS'", "optimizer: torch.optim:LBFGS cannot take a step on dense gradients without a closure: TypeError: "
         "LBFGS.step() missing 1 required positional argument: 'closure'"),
        ("use='torch.optim:SparseAdam'", "optimizer: torch.optim:SparseAdam cannot take a step on dense gradients without a closure: "
         "RuntimeError: SparseAdam does not support dense gradients, please consider Adam instead"),
        ("use='adamm:'", "optimizer.use: cannot import \"adamm:\": ModuleNotFoundError: No module named 'adamm'"),
    ],
)  # fmt: skip
def test_an_optimizer_by_path_that_cannot_be_used_is_explained(
    altgrad: Callable[..., Any], tiny: Path, table: str, said: str
) -> None:
    result = altgrad("check", tiny, "--set", f"optimizer={{{table}}}")
    assert (result.code, result.out, result.err) == (2, "", f"altgrad: --set: {said}\n")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("use='{own}:Steady'", "optimizer.lr: missing; expected a number"),
        ("use='{own}:Steady', lr=0.1, state='plain'", 'optimizer.state: {own}:Steady has no option "state"; it takes: lr, beta, size'),
        ("use='{own}:Steady', lr='x'", 'optimizer.lr: expected a valid number, got "x"'),
        ("use='{own}:Typed', lr=0.1, a='1'", 'optimizer.a: expected a valid number, got "1"'),
        ("use='{own}:Typed', lr=0.1, c='z'", "optimizer.c: expected 'x' or 'y', got \"z\""),
        ("use='{own}:Typed', lr=0.1, e=[1]", "optimizer.e: expected a valid number, got [1]"),
        ("use='{own}:Typed', lr=0.1, g=[1]", "optimizer.g[0]: expected a valid string, got 1"),
        ("use='{own}:Unsaved', lr=0.1", "optimizer: {own}:Unsaved has state that cannot be saved: TypeError: state.state.0.odd is a "
         "complex; state is plain data (numbers, strings, lists, dicts) and tensors"),
        ("use='{own}:NoRate'", 'optimizer.use: {own}:NoRate takes no "lr", through which a run sets the rate of every step'),
        ("use='{own}:Bare'", 'optimizer.use: {own}:Bare takes no "lr", through which a run sets the rate of every step'),
        ("use='{own}:HiddenRate', lr=0.1", 'optimizer: {own}:HiddenRate has no "lr" in its parameter groups, through which a run sets '
         "the rate of every step"),
    ],
)  # fmt: skip
def test_a_class_of_ones_own_that_cannot_be_used_is_explained(
    altgrad: Callable[..., Any], tiny: Path, own: str, table: str, said: str
) -> None:
    result = altgrad("check", tiny, "--set", f"optimizer={{{table.replace('{own}', own)}}}")
    assert (result.code, result.err) == (2, f"altgrad: --set: {said.replace('{own}', own)}\n")


def test_options_come_in_the_types_that_a_constructor_names(altgrad: Callable[..., Any], tiny: Path, own: str) -> None:
    options = "lr=1, a=1, b=[3], d=[2, 3], e=2, f=[1, 2], g=['h']"
    assert altgrad("check", tiny, "--set", f"optimizer={{use='{own}:Typed', {options}}}").code == 0


def test_a_class_of_ones_own_trains_resumes_and_is_written_down_as_given(
    altgrad: Callable[..., Any], tiny: Path, tmp_path: Path, own: str
) -> None:
    setting = f"optimizer={{use='{own}:Steady', lr=0.01, schedule={{kind='linear', final=0.0}}}}"
    assert altgrad("run", tiny, "--out", tmp_path / "run", "--set", setting).code == 0
    records = RecordReader(tmp_path / "run" / "records.jsonl")
    rates = [record["learning_rate"] for record in records if record["kind"] == "step"]
    assert rates == pytest.approx([0.01, 0.008, 0.006, 0.004, 0.002, 0.0])
    assert f'[optimizer]\nuse = "{own}:Steady"\nlr = 0.01\n\n' in (tmp_path / "run" / "resolved.toml").read_text()
    assert altgrad("resume", tmp_path / "run").code == 0
    assert altgrad("run", tmp_path / "run" / "resolved.toml", "--out", tmp_path / "again").code == 0
    assert (tmp_path / "again" / "records.jsonl").read_bytes() == (tmp_path / "run" / "records.jsonl").read_bytes()


def test_an_error_in_the_file_carries_the_line_of_its_key(altgrad: Callable[..., Any], tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace('"manifold-adamw"\nlr = 0.1', '"torch.optim:Adagrad"\nlr = -0.1'))
    line = tiny.read_text().splitlines().index("lr = -0.1") + 1
    said = "optimizer.lr: torch.optim:Adagrad cannot be made: ValueError: Invalid learning rate: -0.1"
    assert altgrad("check", tiny).err == f"altgrad: {tiny}:{line}: {said}\n"


MUON = (
    "torch.optim:Muon, given vectors to train, cannot be made: ValueError: Muon only supports 2D parameters whereas we found "
    'a parameter with size: torch.Size([16]); add an [[optimizer.group]] with layers = "*", only = "vectors" and '
    'use = "torch.optim:AdamW"'
)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ("layers = 'lm_hed'", f'[0].layers: no layer matches "lm_hed"; did you mean "lm_head"? the layers are: {LAYERS}'),
        ("layers = 'ln_f'\nonly = 'matrices'",
         '[0].layers: of the layers with matrices, no layer matches "ln_f"; the layers are: wte, lm_head, wpe, blocks.0.attn.qkv, '
         "blocks.0.attn.c_proj, blocks.0.mlp.fc, blocks.0.mlp.c_proj"),
        ("lr = 0.1", "[0].layers: missing; expected text"),
        ("layers = '*'\nonly = 'biases'", "[0].only: expected 'matrices' or 'vectors', got \"biases\""),
        ("layers = '*'\nlrr = 0.1", '[0].lrr: manifold-adamw has no option "lrr"; did you mean "lr"?'),
        ("layers = '*'\nuse = 'adamww'", '[0].use: no optimizer "adamww"; did you mean "adamw"?'),
        ("layers = '*'\nuse = 'adamw'\nwalk = 'exact'", '[0].walk: adamw has no option "walk"; it takes: '
         "lr, beta1, beta2, eps, weight_decay"),
        ("layers = '*'\nschedule = { kind = 'linear' }", "[0]: schedule is common to all groups; write it in [optimizer]"),
        ("layers = '*'\nclip_norm = 1.0", "[0]: clip_norm is common to all groups; write it in [optimizer]"),
        ("layers = '*'\n[[optimizer.group]]\nlayers = '*'\nuse = 'torch.optim:SGD'\nmomentum = -1", "[1].momentum: torch.optim:SGD "
         "cannot be made: ValueError: Invalid momentum value: -1.0"),
        pytest.param("layers = 'ln_f|*attn*'\nuse = 'torch.optim:Muon'", f"[0]: {MUON}", marks=needs_muon),
    ],
)  # fmt: skip
def test_a_group_that_cannot_be_used_is_explained(
    altgrad: Callable[..., Any], tiny: Path, groups: str, said: str
) -> None:
    tiny.write_text(f"{tiny.read_text()}\n[[optimizer.group]]\n{groups}\n")
    lines = tiny.read_text().splitlines()
    place, _, _ = said.partition(": ")
    index, key = int(place[1]), place[4:]
    header = [number for number, line in enumerate(lines, start=1) if line == "[[optimizer.group]]"][index]
    line = next((n for n, text in enumerate(lines, start=1) if n > header and text.startswith(f"{key} =")), header)
    result = altgrad("check", tiny)
    assert (result.code, result.err) == (2, f"altgrad: {tiny}:{line if key else header}: optimizer.group{said}\n")


@needs_muon
def test_the_groups_of_the_readme_train(altgrad: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    tables = re.findall(r"```toml\n(\[optimizer\].*?)```", MANIFESTS.read_text(), flags=re.DOTALL)[0]
    tiny.write_text(tiny.read_text().replace('[optimizer]\nuse = "manifold-adamw"\nlr = 0.1\n', tables))
    assert altgrad("run", tiny, "--out", tmp_path / "run").code == 0


@needs_muon
def test_an_optimizer_of_matrices_alone_is_refused_with_the_group_to_add(
    altgrad: Callable[..., Any], tiny: Path
) -> None:
    result = altgrad("check", tiny, "--set", "optimizer={use='torch.optim:Muon'}")
    assert (result.code, result.err) == (2, f"altgrad: --set: optimizer: {MUON}\n")
    added = "group=[{layers='*', only='vectors', use='torch.optim:AdamW'}]"
    assert altgrad("check", tiny, "--set", f"optimizer={{use='torch.optim:Muon', {added}}}").code == 0


def test_a_group_of_the_wrong_shape_is_answered_with_the_right_one(altgrad: Callable[..., Any], tiny: Path) -> None:
    result = altgrad("check", tiny, "--set", "optimizer.group=3")
    said = "optimizer.group: expected an array ([...], or for tables [[optimizer.group]]), got 3"
    assert (result.code, result.err) == (2, f"altgrad: --set: {said}\n")


GROUPS = """
[[optimizer.group]]
layers = "lm_head"
use = "torch.optim:RMSprop"
lr = 0.01

[[optimizer.group]]
layers = "*ln_*"
use = "adamw"
lr = 1e-4

[[optimizer.group]]
layers = "ln_f"
lr = 0.2
plain_lr = 0.5
"""


def test_check_shows_which_optimizer_trains_which_parameters_at_which_rate(
    altgrad: Callable[..., Any], tiny: Path
) -> None:
    tiny.write_text(tiny.read_text() + GROUPS)
    told = json.loads(altgrad("check", tiny, "--json").out)["groups"]
    linear = [f"blocks.0.{path}.weight" for path in ("attn.qkv", "attn.c_proj", "mlp.fc", "mlp.c_proj")]
    assert [(group["optimizer"], group["lr"], group["parameters"]) for group in told] == [
        ("manifold-adamw", 0.1, linear),
        ("manifold-adamw", 0.001, ["wpe.weight"]),
        ("torch.optim:RMSprop", 0.01, ["wte.weight"]),  # which lm_head shares
        ("adamw", 0.0001, ["blocks.0.ln_1.weight", "blocks.0.ln_2.weight"]),
        ("manifold-adamw", 0.5, ["ln_f.weight"]),
    ]
    lines = altgrad("check", tiny).out.splitlines()
    assert [line.split() for line in lines if "RMSprop" in line] == [["torch.optim:RMSprop", "0.01", "wte.weight"]]


def test_the_resolved_manifest_of_a_run_with_groups_runs_the_same(
    altgrad: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    tiny.write_text(tiny.read_text() + GROUPS)
    assert altgrad("run", tiny, "--out", tmp_path / "a").code == 0
    assert altgrad("run", tmp_path / "a" / "resolved.toml", "--out", tmp_path / "b").code == 0
    for name in ("resolved.toml", "records.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
