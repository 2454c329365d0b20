"""Recipes resolved on models: which layers, which roles, and a model that is otherwise untouched."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import altgrad_core as ag
from altgrad_core.contracts.pattern import matches
from altgrad_core.numerics.ops import fake_quantize
from altgrad_core.running.model.layers import QuantizedModule

E4M3, E5M2 = ag.load_format("e4m3"), ag.load_format("e5m2")


def two_layers(bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8, bias=bias), nn.Tanh(), nn.Linear(8, 3, bias=bias))


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("blocks.*", "blocks.0.attn.qkv", True),
        ("*c_proj", "blocks.0.mlp.c_proj", True),
        ("a|b", "b", True),
        ("a | b", "b", True),
        ("blocks.?.mlp", "blocks.12.mlp", False),
        ("Blocks.*", "blocks.0", False),
    ],
)
def test_patterns_match_as_in_the_shell(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


def test_later_rules_win_role_by_role() -> None:
    plan = ag.quantize_model(
        two_layers(),
        [
            ag.Rule("*", weight=ag.Quantizer("e4m3"), activation=ag.Quantizer("e4m3")),
            ag.Rule("2", weight=ag.Quantizer("e5m2")),
        ],
    )
    formats = {path: {role: o.format.name for role, o in roles.items()} for path, roles in plan.layers.items()}
    assert formats == {
        "0": {"weight": "e4m3", "activation": "e4m3"},
        "2": {"weight": "e5m2", "activation": "e4m3"},
    }


def test_a_rule_that_matches_nothing_lists_the_layers() -> None:
    with pytest.raises(ag.ManifestError) as caught:
        ag.quantize_model(two_layers(), [ag.Rule("3", weight=ag.Quantizer("e4m3"))])
    assert str(caught.value) == 'recipe[0].layers: no layer matches "3"; the layers are: 0, 2'


def test_surgery_keeps_the_layers_their_parameters_and_the_keys_of_the_state() -> None:
    model = two_layers()
    layers, parameters, keys = list(model), list(model.parameters()), list(model.state_dict())
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    assert all(a is b for a, b in zip(model, layers, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == keys
    assert isinstance(model[0], QuantizedModule) and isinstance(model[0], nn.Linear)
    plan.remove()
    assert type(model[0]) is nn.Linear


def test_a_model_is_quantized_once() -> None:
    model = two_layers()
    ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    with pytest.raises(ag.ManifestError, match="layer 0 is quantized already; quantize_model takes a model once"):
        ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])


def test_a_subclass_with_a_forward_pass_of_its_own_is_left_alone() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    model = nn.Sequential(Doubled(2, 2), nn.Linear(2, 2))
    assert list(ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))]).layers) == ["1"]


@pytest.mark.parametrize("bias", [True, False])
def test_forward_and_backward_products_use_the_quantized_operands(bias: bool) -> None:
    layer = nn.Linear(6, 8, bias=bias)
    x, upstream = torch.randn(5, 6, requires_grad=True), torch.randn(5, 8)
    plain = copy.deepcopy(layer)
    rule = ag.Rule("0", weight=ag.Quantizer(E4M3), activation=ag.Quantizer(E4M3), gradient=ag.Quantizer(E5M2))
    ag.quantize_model(nn.Sequential(layer), [rule])
    y = layer(x)
    y.backward(upstream)

    q = lambda t, f: fake_quantize(t.detach(), f, scaling="amax")  # noqa: E731
    xq, wq, gq = q(x, E4M3), q(plain.weight, E4M3), q(upstream, E5M2)
    expected = xq @ wq.T + (plain.bias if bias else 0)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(x.grad, gq @ wq)
    torch.testing.assert_close(layer.weight.grad, gq.T @ xq)
    if bias:
        torch.testing.assert_close(layer.bias.grad, upstream.sum(0))  # the bias gradient is not quantized


def test_tied_weights_have_one_geometry_and_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)
            self.head.weight = self.embed.weight

    model = Tied()
    plan = ag.quantize_model(model, [ag.Rule("head", weight=ag.Quantizer("e4m3"))])
    assert model.head.weight is model.embed.weight
    assert [(p.path, p.geometry is not None) for p in plan.params()] == [("embed.weight", True)]


def test_evaluation_writes_no_scale_history_or_count() -> None:
    model = two_layers()
    rule = ag.Rule("*", weight=ag.Quantizer("e4m3"), activation=ag.Quantizer("e4m3", scaling="delayed"))
    plan = ag.quantize_model(model, [rule])
    model(torch.randn(4, 6))
    plan.step()
    before = plan.state_dict(), [operand.tally for operand in plan.operands()]
    model.eval()
    model(100 * torch.randn(4, 6))
    assert (plan.state_dict(), [operand.tally for operand in plan.operands()]) == before


def test_delayed_scaling_uses_the_largest_amax_of_the_last_steps() -> None:
    layer = nn.Linear(1, 1, bias=False)
    scaling = ag.Scaling("delayed", history=2)
    plan = ag.quantize_model(nn.Sequential(layer), [ag.Rule("0", activation=ag.Quantizer(E4M3, scaling=scaling))])
    operand = plan.layers["0"]["activation"]
    scales = []
    for micro_batches in ([448.0, 896.0], [448.0], [448.0], [448.0], [1e6]):
        for amax in micro_batches:
            layer(torch.tensor([[amax]]))
            scales.append(float(operand.scale))
        plan.step()
    # first use: the current one, until the first step is over; then the largest of two steps, over micro-batches
    assert scales == [1.0, 2.0, 2.0, 2.0, 1.0, 1.0]
    assert int(operand.tally.overflow) == 1  # 1e6 at scale 1 saturates, and is counted


def test_switching_a_format_takes_effect_at_the_next_pass_and_keeps_the_history() -> None:
    model = two_layers()
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    switched = plan.switch("0", "weight", "E3M4")
    assert [tuple(s) for s in switched] == [("0", "weight", "e4m3", "e3m4")]
    assert plan.switch("0", "weight", "e3m4") == []
    model(torch.randn(2, 6))
    assert plan.layers["0"]["weight"].geometry.format.name == "e3m4"


def test_the_state_of_a_plan_of_another_recipe_is_refused() -> None:
    plan = ag.quantize_model(two_layers(), [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    other = ag.quantize_model(two_layers(), [ag.Rule("0", weight=ag.Quantizer("e4m3"))])
    with pytest.raises(ag.RunError) as caught:
        plan.load_state_dict(other.state_dict())
    assert str(caught.value) == "the saved plan is of another recipe: they differ in the weight of 2"


def test_fp32_is_the_identity_on_the_same_code_path() -> None:
    x, model = torch.randn(4, 6), two_layers()
    plain = copy.deepcopy(model)
    quantizer = ag.Quantizer("fp32")
    plan = ag.quantize_model(model, [ag.Rule("*", weight=quantizer, activation=quantizer)])
    assert torch.equal(model(x), plain(x))
    assert [p.geometry for p in plan.params()] == [None] * 4


def test_stochastic_rounding_differs_by_step_and_repeats_with_it() -> None:
    model = two_layers()
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e2m1", rounding="stochastic"))], seed=5)
    x = torch.randn(4, 6)
    first = model(x)
    assert torch.equal(model(x), first)
    plan.step()
    assert not torch.equal(model(x), first)


def test_two_formats_of_one_name_are_refused() -> None:
    mine = ag.Minifloat(4, 3, bias=7, specials="fn", name="mine")
    other = ag.Minifloat(2, 1, name="mine")
    with pytest.raises(ag.ManifestError) as caught:
        ag.quantize_model(two_layers(), [ag.Rule("*", weight=ag.Quantizer(mine), activation=ag.Quantizer(other))])
    assert str(caught.value) == (
        f'two formats of this recipe are called "mine": {mine.facts()} and {other.facts()}; give one of them another name'
    )


def test_a_saved_plan_of_a_format_that_has_changed_is_refused() -> None:
    plan = ag.quantize_model(two_layers(), [ag.Rule("0", weight=ag.Quantizer("e4m3"))])
    saved = plan.state_dict()
    facts = saved["operands"]["0"]["weight"]["format"]
    saved["operands"]["0"]["weight"]["format"] = {**facts, "bias": 8}
    with pytest.raises(ag.RunError) as caught:
        plan.load_state_dict(saved)
    assert str(caught.value) == (
        f"the saved plan has the weight of 0 in { ({**facts, 'bias': 8}) }, but that format is {facts} here"
    )


def test_layers_that_share_a_weight_must_quantize_it_alike() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    plan = ag.quantize_model(
        model, [ag.Rule("a", weight=ag.Quantizer("e4m3")), ag.Rule("b", weight=ag.Quantizer("e5m2"))]
    )
    with pytest.raises(ag.ManifestError) as caught:
        plan.params()
    assert str(caught.value) == "a and b share one weight, but their rules quantize it differently"


def test_the_projections_of_attention_are_layers() -> None:
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(4, 2), "head": nn.Linear(4, 4)})
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    assert list(plan.layers) == ["attention.in_proj", "attention.out_proj", "head"]


def test_counts_are_those_of_all_micro_batches_of_a_step() -> None:
    layer = nn.Linear(1, 1, bias=False)
    quantizer = ag.Quantizer("e4m3", scaling="none")
    plan = ag.quantize_model(nn.Sequential(layer), [ag.Rule("0", activation=quantizer)])
    operand = plan.layers["0"]["activation"]
    for amax in (500.0, 3.0, 900.0):
        layer(torch.tensor([[amax], [1.0]]))
    assert (operand.tally.elements, int(operand.tally.overflow), float(operand.tally.amax)) == (6, 2, 900.0)
    plan.step()
    layer(torch.tensor([[5.0]]))
    assert (operand.tally.elements, int(operand.tally.overflow), float(operand.tally.amax)) == (1, 0, 5.0)


def test_the_history_of_the_identity_is_kept_for_a_later_switch() -> None:
    layer = nn.Linear(1, 1, bias=False)
    plan = ag.quantize_model(nn.Sequential(layer), [ag.Rule("0", activation=ag.Quantizer("fp32", scaling="delayed"))])
    for amax in (1.0, 10.0, 100.0):
        layer(torch.tensor([[amax]]))
        plan.step()
    assert plan.state_dict()["operands"]["0"]["activation"]["history"] == [1.0, 10.0, 100.0]


def test_a_copy_of_a_quantized_model_has_a_geometry_of_its_own() -> None:
    model = two_layers()
    ag.quantize_model(model, [ag.Rule("0", weight=ag.Quantizer("e4m3"))])
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.mul_(64)
    other(torch.randn(2, 6))
    mine, theirs = (m[0].quantized.products[""]["weight"].geometry for m in (model, other))
    assert float(theirs.scale) == 64 * float(mine.scale)


def test_nothing_is_switched_to_the_identity() -> None:
    plan = ag.quantize_model(two_layers(), [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    with pytest.raises(ag.FormatError) as caught:
        plan.switch("0", "weight", "fp32")
    assert str(caught.value) == '"fp32" is the identity: nothing can be switched to it'


def test_lazy_layers_need_weights_first() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 4))
    with pytest.raises(
        ag.ManifestError, match=r"0.weight has no shape yet: call the model once, so that its lazy layers"
    ):
        ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    model(torch.ones(1, 3))
    assert (
        repr(ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])) == "<plan of 2 layers: weight e4m3>"
    )
