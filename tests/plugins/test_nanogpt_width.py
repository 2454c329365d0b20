"""The maximal update parametrization: what a few steps change does not depend on the width, and rates say so."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from altgrad_nanogpt import NanoGPT
from torch import nn
from torch.nn import functional as F

import altgrad_core as ag

WATCHED = ("blocks.0.attn.qkv", "blocks.1.attn.c_proj", "blocks.1.mlp.fc", "blocks.1.mlp.c_proj", "lm_head")
OPTIMIZERS = {
    "adamw": {"lr": 0.003},
    "torch.optim:NAdam": {"lr": 0.003},
    "manifold-adamw": {"lr": 0.05},
    "manifold-adamw off": {"lr": 0.003, "precondition": "off"},
    "adamw-relative": {"lr": 0.05},
    "lamb": {"lr": 0.05},
    "madam": {"lr": 0.05},
    "grid": {"lr": 20.0, "rung_clip": 1e9},
    "grid rms": {"lr": 1.0, "normalize": "rms"},
    "sgd": {"lr": 0.1},
}


def build(width, base_width, **options):
    torch.manual_seed(0)
    small = {"n_layer": 2, "n_head": 2, "block_size": 16, "n_embd": width, "base_width": base_width}
    return NanoGPT(**{**small, **options}).build(64)


def changes(case: str, *, width: int, base_width: int | None) -> dict[str, float]:
    """The root mean square change of the activations of each layer after four steps."""
    model, seen = build(width, base_width), {}
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    optimizer = ag.build_optimizer(case.partition(" ")[0], plan.params(), **OPTIMIZERS[case])
    plan.attach(optimizer)
    for path in WATCHED:
        model.get_submodule(path).register_forward_hook(lambda _, __, y, path=path: seen.__setitem__(path, y.detach()))
    tokens = torch.randint(64, (8, 17), generator=torch.Generator().manual_seed(0))
    model(tokens[:, :-1])
    first = dict(seen)
    for _ in range(4):
        F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    model(tokens[:, :-1])
    return {path: (seen[path] - first[path]).square().mean().sqrt().item() for path in WATCHED}


def growth(case: str, base_width: int | None) -> dict[str, float]:
    narrow, wide = (changes(case, width=width, base_width=base_width) for width in (32, 256))
    return {path: wide[path] / narrow[path] for path in WATCHED}


@pytest.mark.parametrize("case", OPTIMIZERS)
def test_a_step_changes_activations_alike_at_every_width(case):
    found = growth(case, 32)
    assert all(0.45 < ratio < 1.6 for ratio in found.values()), found


@pytest.mark.parametrize("case", ["adamw", "manifold-adamw", "grid rms", "sgd"])
def test_without_a_base_width_the_change_grows_with_the_width(case):
    found = growth(case, None)
    assert all(ratio > 2 for ratio in found.values()), found


def test_at_the_base_width_the_model_and_its_rates_are_the_ordinary_ones():
    plain, based = build(32, None), build(32, 32)
    tokens = torch.arange(16)[None]
    assert torch.equal(plain(tokens), based(tokens))
    rates = [
        [group["lr"] for group in ag.build_optimizer("adamw", ag.quantize_model(model, []).params()).param_groups]
        for model in (plain, based)
    ]
    assert rates[0] == rates[1]


@pytest.mark.parametrize("bias", [False, True])
def test_initial_weights_multipliers_and_rates_are_those_of_the_table(bias):
    model = build(256, 64, bias=bias, tied=False)
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            expected = 0.02 / (2 if path.startswith("blocks.") else 1) / (2 if path.endswith("c_proj") else 1)
            assert module.weight.std().item() == pytest.approx(expected, rel=0.05), path
    assert model.blocks[0].attn.scale == pytest.approx(32**0.5 / 128)
    tokens = torch.arange(16)[None]
    seen: list[torch.Tensor] = []
    model.lm_head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.ln_f.register_forward_hook(lambda _, __, output: seen.append(output))
    model(tokens)
    torch.testing.assert_close(seen[1] * 4, seen[0])
    params = ag.quantize_model(model, []).params()
    paths = {param.tensor: param.path for param in params}
    for group in ag.build_optimizer("adamw", params, lr=0.01).param_groups:
        for parameter in group["params"]:
            hidden = paths[parameter].startswith("blocks.") and parameter.dim() == 2
            assert group["lr"] == group["initial_lr"] == pytest.approx(0.0025 if hidden else 0.01), paths[parameter]


def test_a_copy_of_a_model_has_the_same_rates():
    model = copy.deepcopy(build(64, 32))
    optimizer = ag.build_optimizer("adamw", ag.quantize_model(model, []).params(), lr=0.01)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [0.005, 0.01]


def test_an_optimizer_that_does_not_say_how_its_rate_goes_is_refused(altgrad, tiny):
    said = altgrad("check", tiny, "--set", "model.base_width=8", "--set", 'optimizer={use="torch.optim:Rprop"}')
    assert said.code == 2
    assert said.err.endswith(
        "optimizer: torch.optim:Rprop does not say how its rate depends on the width of a model, which wte.weight needs "
        "(2 times its base width); choose another optimizer, or leave the base width out\n"
    )


def test_check_and_records_have_the_rates_that_are_used(altgrad, tiny, tmp_path):
    options = ("--set", "model.base_width=8", "--set", 'optimizer={use="adamw", lr=0.01}')
    groups = json.loads(altgrad("check", tiny, *options, "--json").out)["groups"]
    rates = {path: group["lr"] for group in groups for path in group["parameters"]}
    assert (rates["wte.weight"], rates["blocks.0.mlp.fc.weight"], rates["ln_f.weight"]) == (0.01, 0.005, 0.01)
    altgrad("run", tiny, *options, "--out", tmp_path / "run", "--steps", 2)
    lines = map(json.loads, (tmp_path / "run" / "records.jsonl").read_text().splitlines())
    step = next(line for line in lines if line["kind"] == "step")
    assert (step["learning_rate"], step["learning_rates"]) == (0.01, [0.01, 0.005, 0.01])
