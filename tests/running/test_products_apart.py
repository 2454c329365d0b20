"""Each of the three products of a linear layer rounds its operands by rules of its own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import altgrad_core as ag
from altgrad_core.contracts.layer import APART

if TYPE_CHECKING:
    from tests.running.conftest import Runs

FORMATS = {
    "activation": "e4m3",
    "weight": "e3m4",
    "gradient": "e5m2",
    "weight_for_input_gradient": "e2m5",
    "activation_for_weight_gradient": "e3m2",
    "gradient_for_weight_gradient": "e2m3",
}


def how(role: str, block: str = "block:4") -> ag.Quantizer:
    return ag.Quantizer(ag.load_format(FORMATS[role]), scaling=ag.Scaling("amax", granularity=block))


def rule(*roles: str, **options: Any) -> ag.Rule:
    return ag.Rule("*", **{role: how(role) for role in roles}, **options)


def rounded(x: Tensor, role: str, roles: tuple[str, ...], *, along: int) -> Tensor:
    """Q(x) with blocks of 4 along a dimension of a matrix, in plain words."""
    if role not in roles:
        return x
    turned = x.movedim(along, -1).contiguous()
    return ag.quantize(turned, how(role)).values.movedim(-1, along)


def by_hand(layer: nn.Linear, x: Tensor, g: Tensor, roles: tuple[str, ...]) -> dict[str, Tensor]:
    """Every product in matrices: y = x W^T, dx = g W, dW = g^T x."""
    w, x, g = layer.weight.detach(), x.flatten(0, -2), g.flatten(0, -2)
    ordinary = {"x": rounded(x, "activation", roles, along=1), "w": rounded(w, "weight", roles, along=1)}
    ordinary["g"] = rounded(g, "gradient", roles, along=1)
    own = {
        "w": rounded(w, APART[0], roles, along=0) if APART[0] in roles else ordinary["w"],
        "x": rounded(x, APART[1], roles, along=0) if APART[1] in roles else ordinary["x"],
        "g": rounded(g, APART[2], roles, along=0) if APART[2] in roles else ordinary["g"],
    }
    y = ordinary["x"] @ ordinary["w"].T + layer.bias
    return {"y": y, "dx": ordinary["g"] @ own["w"], "dw": own["g"].T @ own["x"], "db": g.sum(0)}


def passes(layer: Callable[[Tensor], Tensor], weight: nn.Linear, x: Tensor, g: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    y = layer(x)
    weight.zero_grad()
    y.backward(g)
    assert x.grad is not None and weight.weight.grad is not None and weight.bias.grad is not None
    found = {"y": y.detach().flatten(0, -2), "dx": x.grad.flatten(0, -2)}
    return {**found, "dw": weight.weight.grad.clone(), "db": weight.bias.grad.clone()}


def subject() -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    return nn.Linear(8, 12), torch.randn(2, 4, 8), torch.randn(2, 4, 12)


ALL = tuple(FORMATS)
CASES = [ALL, APART, *((role,) for role in APART), ("weight", "activation", "gradient"), ("gradient", APART[2])]


@pytest.mark.parametrize("roles", CASES, ids="+".join)
def test_each_product_multiplies_what_its_own_rules_round(roles: tuple[str, ...]) -> None:
    layer, x, g = subject()
    expected = by_hand(layer, x, g, roles)
    plan = ag.quantize_model(layer, [rule(*roles)])
    found = passes(layer, layer, x, g)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-6, msg=name)
    assert all(operand.is_used for operand in plan.operands())


def test_the_same_rule_for_both_uses_gives_the_bits_of_one_rounding() -> None:
    one = ag.Quantizer("e4m3")
    apart = {APART[0]: one, APART[1]: one, APART[2]: one}
    layer, x, g = subject()
    both = copy.deepcopy(layer)
    ag.quantize_model(layer, [ag.Rule("*", weight=one, activation=one, gradient=one)])
    ag.quantize_model(both, [ag.Rule("*", weight=one, activation=one, gradient=one, **apart)])
    once, twice = passes(layer, layer, x, g), passes(both, both, x, g)
    assert all(torch.equal(once[name], twice[name]) for name in once)


@pytest.mark.parametrize("roles", [ALL, APART, (APART[1],), ("weight", APART[0])], ids="+".join)
def test_a_compiled_layer_gives_the_bits_of_an_eager_one(roles: tuple[str, ...]) -> None:
    layer, x, g = subject()
    same = copy.deepcopy(layer)
    noisy = {"gradient_for_weight_gradient": ag.Quantizer("e5m2", "stochastic")} if len(roles) > 4 else {}
    rules = [rule(*(role for role in roles if role not in noisy), **noisy)]
    plans = [ag.quantize_model(module, rules) for module in (layer, same)]
    compiled = torch.compile(same, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        eager, graph = passes(layer, layer, x, g), passes(compiled, same, x, g)
        assert all(torch.equal(eager[name], graph[name]) for name in eager)
        tallies = [[operand.tally.plain() for operand in plan.operands() if operand.tally] for plan in plans]
        assert len(tallies[0]) == len(roles) and tallies[0] == tallies[1]
        for plan in plans:
            plan.step()


def test_an_evaluation_in_a_program_needs_none_of_them() -> None:
    layer, x, _ = subject()
    ag.quantize_model(layer, [rule(*ALL)])
    layer.eval()
    program = torch.export.export(layer, (x,))
    torch.testing.assert_close(program.module()(x), layer(x), rtol=0, atol=0)


def test_recomputed_layers_round_the_second_uses_once() -> None:
    layer, x, g = subject()
    same = copy.deepcopy(layer)
    plans = [ag.quantize_model(module, [rule(*ALL)]) for module in (layer, same)]
    for reentrant in (False, True):
        plain = passes(layer, layer, x, g)
        again = passes(lambda x: checkpoint(same, x, use_reentrant=reentrant), same, x, g)  # noqa: B023
        assert all(torch.equal(plain[name], again[name]) for name in plain)
        counts = [{o.role: o.tally.plain() for o in plan.operands() if o.tally} for plan in plans]
        assert counts[0] == counts[1] and counts[0].keys() == set(ALL)
        for plan in plans:
            plan.step()


def test_vmap_and_second_derivatives_work() -> None:
    layer, x, _ = subject()
    ag.quantize_model(layer, [rule(*ALL)])
    params = {name: p.detach() for name, p in layer.named_parameters()}

    def loss(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(layer, params, (x,)).square().sum()

    per_example = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(params, x)
    for index in range(2):
        alone = torch.func.grad(loss)(params, x[index])
        torch.testing.assert_close(per_example["weight"][index], alone["weight"])
    x.requires_grad_()
    (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    first.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["conv", "embedding", "hf", "in_proj"])
def test_layers_that_are_not_linear_refuse_the_roles(kind: str) -> None:
    modules: dict[str, Callable[[], nn.Module]] = {
        "conv": lambda: nn.Conv1d(4, 4, 1),
        "embedding": lambda: nn.Embedding(4, 4),
        "hf": lambda: nn.Bilinear(4, 4, 4),
        "in_proj": lambda: nn.MultiheadAttention(4, 1),
    }
    model = nn.ModuleDict({"layer": modules[kind]()})
    pattern = "layer.in_proj" if kind == "in_proj" else "layer"
    with pytest.raises(ag.ManifestError) as caught:
        ag.quantize_model(model, [ag.Rule(pattern, activation_for_weight_gradient=ag.Quantizer("e4m3"))])
    assert f'no layer that matches "{pattern}" has the role activation_for_weight_gradient; ' in str(caught.value)


def test_a_program_that_trains_refuses_the_roles() -> None:
    layer, x, _ = subject()
    plan = ag.quantize_model(layer, [rule("weight", APART[1])])
    with pytest.raises(ag.RunError, match="the recipe has the activation_for_weight_gradient of "):
        ag.training_program(plan, x)


RULE = """
[[recipe]]
layers = "*"
weight_for_input_gradient = { format = "e4m3", granularity = "block:4", rounding = "stochastic" }
activation_for_weight_gradient = { format = "e4m3", scaling = "delayed", rounding = "stochastic" }
gradient_for_weight_gradient = { format = "e5m2", rounding = "stochastic" }

[[monitor]]
use = "stability"
every = 4
"""


def test_a_run_resumes_bit_for_bit_and_shows_them(runs: Runs, altgrad: Callable[..., Any], tmp_path: Path) -> None:
    runs.text += RULE
    runs.begin("whole")
    runs.begin("parts", at=3)
    assert runs.resume("parts").status == "finished"
    assert runs.result("parts") == runs.result("whole")
    readings = {r["reading"] for r in runs.records("whole") if r["kind"] == "reading"}
    assert {f"{role}-amax" for role in APART} <= readings
    path = tmp_path / "apart.toml"
    path.write_text(runs.text)
    plan = json.loads(altgrad("check", path, "--json").out)
    assert plan["layers"]["lm_head"]["weight_for_input_gradient"] == "e4m3 amax/block:4 stochastic"
    assert "activation_for_weight_gradient" in altgrad("check", path).out
