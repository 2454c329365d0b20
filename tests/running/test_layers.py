"""Kinds of layers on whole models: which module is of which kind, which roles it has, and what comes back."""

from __future__ import annotations

import copy
import pickle
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.utils import prune

import altgrad_core as ag
from altgrad_core.running.model.plan import Plan

E4M3 = ag.Quantizer("e4m3")
ALL = ag.Rule("*", weight=E4M3, activation=E4M3, gradient=ag.Quantizer("e5m2"))


class Scaled(nn.Linear):
    """A subclass with a method and an attribute of its own."""

    factor = 3

    def twice(self) -> int:
        return 2 * self.factor


def test_a_subclass_of_linear_keeps_its_methods_and_its_class_comes_back() -> None:
    model = nn.Sequential(Scaled(4, 4))
    x = torch.randn(2, 4)
    expected = model(x)
    plan = ag.quantize_model(model, [ALL])
    assert model[0].twice() == 6 and isinstance(model[0], Scaled)
    assert not torch.equal(model(x), expected)
    plan.remove()
    assert type(model[0]) is Scaled and torch.equal(model(x), expected)


def test_a_role_that_no_layer_has_is_an_error_that_lists_those_there_are() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4))
    with pytest.raises(ag.ManifestError) as caught:
        ag.quantize_model(model, [ag.Rule("0", activation=E4M3)])
    assert str(caught.value) == (
        'recipe[0].activation: no layer that matches "0" has the role activation; 0 (embedding) has weight, moment, second_moment'
    )


def test_a_star_leaves_out_embeddings_and_a_name_does_not() -> None:
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4))
    assert list(ag.quantize_model(copy.deepcopy(model), [ALL]).layers) == ["1"]
    assert list(ag.quantize_model(copy.deepcopy(model), [ag.Rule("0|1", weight=E4M3)]).layers) == ["0", "1"]
    with pytest.raises(ag.ManifestError) as caught:
        ag.quantize_model(model[:1], [ALL])
    assert str(caught.value) == (
        'recipe[0].layers: "*" leaves out 0 (embedding): layers of this kind are quantized only where a rule names them'
    )


def test_a_module_at_two_paths_is_quantized_once_and_known_by_both() -> None:
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict({"a": shared, "b": shared})
    plan = ag.quantize_model(model, [ag.Rule("b", weight=E4M3)])
    assert list(plan.layers) == ["a"] and plan.known["a"].paths == ("a", "b")


@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm", "orthogonal"])
def test_a_parametrized_weight_is_rounded_as_it_is_computed(norm: str) -> None:
    torch.manual_seed(0)
    layer = getattr(nn.utils.parametrizations, norm)(nn.Linear(4, 4)).eval()
    model, x = nn.Sequential(layer), torch.randn(2, 4)
    weight = layer.weight.detach()
    plan = ag.quantize_model(model, [ag.Rule("*", weight=E4M3)])
    expected = x @ ag.fake_quantize(weight, ag.load_format("e4m3"), scaling="amax").T + layer.bias
    torch.testing.assert_close(model(x), expected)
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    plan.remove()
    torch.testing.assert_close(model(x), x @ weight.T + layer.bias)


def test_a_pruned_weight_is_rounded_and_counts_as_covered() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(4, 4), torch.randn(2, 4)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    plan = ag.quantize_model(nn.Sequential(layer), [ag.Rule("*", weight=E4M3)])  # no warning of thin coverage
    weight = (layer.weight_orig * layer.weight_mask).detach()
    expected = x @ ag.fake_quantize(weight, ag.load_format("e4m3"), scaling="amax").T + layer.bias
    torch.testing.assert_close(layer(x), expected)
    assert plan.coverage().matrices == 1 and plan.coverage().uncovered == ()


@pytest.mark.parametrize("padded", [False, True])
def test_an_encoder_in_evaluation_uses_the_rounded_weights(padded: bool) -> None:
    """torch's fused path reads the weights themselves."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 2)
    padding = torch.tensor([[False] * 4, [False, False, True, True]]) if padded else None
    ag.quantize_model(model, [ALL])
    x = torch.randn(2, 4, 8)
    trained = model(x, src_key_padding_mask=padding)
    with torch.no_grad():
        evaluated = model.eval()(x, src_key_padding_mask=padding)
    torch.testing.assert_close(evaluated, trained)


def test_rows_and_blocks_run_along_what_the_product_sums_over() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, bias=False)
    with torch.no_grad():
        conv.weight.mul_(torch.tensor([1.0, 1e-3, 1e3, 1e-6]).view(4, 1, 1, 1))
    weight = conv.weight.detach()
    how = ag.Quantizer("e2m1", scaling=ag.Scaling(granularity="row"))
    plan = ag.quantize_model(nn.Sequential(conv), [ag.Rule("0", weight=how)])
    x = torch.randn(1, 3, 5, 5)
    rows = ag.quantize(weight.flatten(1), ag.Quantizer(ag.load_format("e2m1"), scaling=how.scaling)).values
    torch.testing.assert_close(conv(x), nn.functional.conv2d(x, rows.view_as(weight)))
    (geometry,) = plan.geometry().values()
    assert geometry.scale.shape == weight.shape
    assert torch.equal(geometry.value(geometry.rung(weight)), rows.view_as(weight))


def test_a_model_plan_and_optimizer_survive_copies_and_pickles() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Scaled(4, 4), nn.Conv1d(4, 2, 1))
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3", scaling="delayed"), activation=E4M3)])
    x = torch.randn(4, 4)
    model(x)
    for copied in (copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
        assert isinstance(copied, Plan) and copied.model is not model
        assert torch.equal(copied.model(x), model(x))
        copied.step()
        assert (copied.moment.step, plan.moment.step) == (1, 0)
        assert copied.model[0].quantized.products[""]["weight"] is copied.layers["0"]["weight"]


def test_a_stranger_can_bring_a_kind_of_layer_from_outside() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.eye(2))

        def forward(self, x: Tensor) -> Tensor:
            return 2 * x @ self.matrix

    class DoubledKind(ag.LayerSpec):
        """Twice a product."""

        name: ClassVar = "doubled"

        def adapts(self, module: nn.Module) -> bool:
            return isinstance(module, Doubled) and type(module).forward is Doubled.forward

        def products(self, module: nn.Module) -> tuple[ag.Product, ...]:
            return (ag.Product(weight="matrix", contracted={"weight": (0,)}),)

        def forward(self, module: Doubled, rounding: ag.Rounding, x: Tensor) -> Tensor:  # type: ignore[override]
            return 2 * rounding.linear(x, module.matrix.t(), None)

    class Mistaken(DoubledKind):
        def products(self, module: nn.Module) -> tuple[ag.Product, ...]:
            return (ag.Product(weight="metrics"),)

    model = nn.Sequential(Doubled())
    rule = ag.Rule("*", activation=ag.Quantizer(ag.load_format("e4m3"), scaling="none"))
    with pytest.raises(ag.PluginError) as caught:
        Plan(model, [rule], kinds=[Mistaken()], find=ag.load_format)
    assert str(caught.value) == (
        'layer "doubled": products names the weight "metrics", which Doubled does not have; its parameters: matrix'
    )
    Plan(model, [rule], kinds=[DoubledKind()], find=ag.load_format)
    assert model(torch.tensor([1.04, 2.1])).tolist() == [2.0, 4.0]


class OneOfEach(nn.Module):
    """Quantized, unselected, foreign, recurrent, attention, and a table."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.first, self.second = nn.Embedding(10, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.recurrent = nn.LSTM(4, 4, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.second(self.first(self.table(tokens)))
        return self.recurrent(x @ x.transpose(-2, -1) @ x)[0]


def test_coverage_counts_parameters_and_products_and_gives_reasons() -> None:
    model = OneOfEach()
    plan = ag.quantize_model(model, [ag.Rule("first", weight=E4M3, activation=E4M3)])
    found = plan.coverage(torch.zeros(1, 3, dtype=torch.int64))
    assert found.parameters == 16 / (40 + 2 * 20 + 160)
    products = 3 * 16  # of each linear layer, for three positions
    attention = 2 * 3 * 3 * 4
    recurrent = sum(part.multiply_adds for part in found.uncovered if part.path == "recurrent")
    assert found.multiply_adds == products / (2 * products + attention + recurrent)
    assert {part.path: part.why for part in found.uncovered} == {
        "": "OneOfEach computes products of its own, outside of layers",
        "table": 'Embedding has to be named by a rule, "*" leaves it out',
        "second": "no rule selects it",
        "recurrent": "a recurrent layer computes its products in one kernel of torch, whose operands cannot be rounded",
    }
    assert str(plan.coverage()).startswith("quantized: 6.7% of parameters\n  not recurrent: a recurrent layer")


def test_a_star_that_covers_less_than_half_is_warned_of() -> None:
    model = nn.Sequential(nn.LSTM(4, 4), nn.Linear(4, 4))
    with pytest.warns(UserWarning) as caught:
        ag.quantize_model(model, [ALL])
    assert str(caught[0].message) == (
        'layers = "*" covers 11.1% of the matrices of this model.\n'
        "quantized: 8.9% of parameters\n"
        "  not 0: a recurrent layer computes its products in one kernel of torch, whose operands cannot be rounded"
    )


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (type("Own", (nn.Linear,), {"forward": lambda self, x: x})(2, 2), "Own has a forward pass of its own"),
        (nn.Embedding(3, 2, max_norm=1.0), "max_norm writes into the weight in every forward pass"),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), "add_bias_kv and add_zero_attn are not supported"),
        (nn.GRUCell(2, 2), "a recurrent layer computes its products in one kernel of torch, whose operands cannot be rounded"),
    ],
)  # fmt: skip
def test_what_cannot_be_quantized_says_why(module: nn.Module, why: str) -> None:
    model = nn.ModuleDict({"strange": module, "plain": nn.Linear(2, 2)})
    plan = ag.quantize_model(model, [ag.Rule("plain", weight=E4M3)])
    assert next(part.why for part in plan.coverage().uncovered if part.path == "strange") == why
    plan.remove()
    with pytest.raises(ag.ManifestError, match=f'"strange" matches only what cannot be quantized; strange: {why}'):
        ag.quantize_model(model, [ag.Rule("strange", weight=E4M3)])


class Flexible(nn.Module):
    """Attention by a kernel of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inputs(x).unsqueeze(1)
        return flex_attention(x, x, x).squeeze(1)


class FlashAttention(nn.Module):
    """Attention by a function of the package flash_attn, which is not called here."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return flash_attn_func(x, x, x)  # noqa: F821


@pytest.mark.parametrize(("kind", "kernel"), [(Flexible, "flex_attention"), (FlashAttention, "flash_attn_func")])
def test_attention_of_a_fused_kernel_is_named_as_not_covered(kind: type[nn.Module], kernel: str) -> None:
    model = nn.Sequential(kind(), nn.Linear(4, 4))
    plan = ag.quantize_model(model, [ag.Rule("*", weight=E4M3)])
    why = f"its attention is computed by {kernel}, whose operands cannot be rounded: call scaled_dot_product_attention"
    assert [(part.path, part.why) for part in plan.coverage().uncovered] == [("0", why)]
    with pytest.raises(ag.ManifestError, match='"0" matches only what cannot be quantized; 0: its attention'):
        ag.quantize_model(nn.Sequential(kind()), [ag.Rule("0", query=E4M3)])


def test_products_that_torch_cannot_count_are_told_and_a_wrong_example_is_an_error() -> None:
    plan = ag.quantize_model(nn.Sequential(Flexible()), [ag.Rule("*", weight=E4M3)])
    found = plan.coverage(torch.ones(1, 2, 4))
    assert found.multiply_adds is None and found.uncounted.startswith("TypeError: no implementation found for")
    assert "  multiply-adds could not be counted: TypeError" in str(found)
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        plan.coverage(torch.ones(1, 2, 5))
    with torch.no_grad():
        assert plan.model(torch.ones(1, 2, 4)).isfinite().all()  # it still runs


def test_clipped_gradients_of_a_table_may_be_sparse() -> None:
    tables = [torch.nn.Embedding(6, 4, sparse=sparse) for sparse in (False, True)]
    clipped = ag.Quantizer("e4m3", straight_through="clipped", scaling=ag.Scaling("none"))
    for table in tables:
        with torch.no_grad():
            table.weight.copy_(torch.arange(24.0).view(6, 4) * 40)  # the last rows are beyond 448
        model = nn.Sequential(table)
        ag.quantize_model(model, [ag.Rule("0", weight=clipped)])
        model(torch.tensor([1, 5, 1, 2])).sum().backward()
    dense, sparse = (table.weight.grad for table in tables)
    assert sparse.is_sparse and torch.equal(sparse.to_dense(), dense)
    assert dense[1].tolist() == [2.0] * 4 and dense[5].tolist() == [0.0] * 4
