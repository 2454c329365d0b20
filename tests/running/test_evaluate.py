"""`evaluate`: what recipes make of a trained model, checked against the same by hand."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import altgrad_core as ag

FORMAT = ag.load_format("e2m3")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 4))


def batches(count: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(1)
    return [(torch.randn(5, 6, generator=random) * (n + 1), torch.arange(5) % 4) for n in range(count)]


def rule(**roles: Any) -> ag.Rule:
    return ag.Rule("*", **roles)


def test_the_loss_is_that_of_rounding_by_hand() -> None:
    model = network()
    how = ag.Quantizer("e2m3")
    recipes = {"small": [rule(weight=how, activation=how, gradient=how)], "weights": [rule(weight=how)]}
    plain, small, weights = ag.evaluate(model, recipes, batches(), task=ag.OneOf(4))

    def q(x: torch.Tensor) -> torch.Tensor:
        return ag.fake_quantize(x, FORMAT, scaling="amax")

    def by_hand(of_weight: Any, of_input: Any) -> tuple[float, float]:
        losses, right = 0.0, 0
        with torch.no_grad():
            for x, y in batches():
                hidden = functional.relu(functional.linear(of_input(x), of_weight(model[0].weight), model[0].bias))
                outputs = functional.linear(of_input(hidden), of_weight(model[3].weight), model[3].bias)
                losses += float(functional.cross_entropy(outputs, y))
                right += int((outputs.argmax(1) == y).sum())
        return losses / 3, right / 15

    for found, functions in ((plain, (lambda x: x, lambda x: x)), (small, (q, q)), (weights, (q, lambda x: x))):
        loss, accuracy = by_hand(*functions)
        assert found.loss == pytest.approx(loss, rel=1e-6) and found.metrics == {"accuracy": accuracy}
    assert [m.bits for m in (plain, small, weights)] == [32, 6, 19]
    error = ((q(model[0].weight) - model[0].weight).norm() / model[0].weight.norm()).detach()
    assert small.layers[0].weight == pytest.approx(float(error), rel=1e-5)
    assert small.layers[0].layer == "0" and small.layers[1].output is not None and plain.layers == ()


def test_delayed_scaling_looks_back_on_the_calibration_batches() -> None:
    model, how = network(), ag.Quantizer("e2m3", scaling="delayed")
    (_, found) = ag.evaluate(
        model, {"own": [ag.Rule("0", activation=how)]}, batches()[:1], task=ag.OneOf(4), calibration=batches(3)
    )
    largest = max(x.abs().max() for x, _ in batches(3))
    scale = ag.scale_of(largest, ag.Quantizer(FORMAT))
    with torch.no_grad():
        x, y = batches()[0]
        rounded = ag.quantize(x, ag.Quantizer(FORMAT), scale=scale).values
        loss = functional.cross_entropy(model.eval()[1:](model[0](rounded)), y)
    assert found.loss == pytest.approx(float(loss), rel=1e-6)


def test_the_model_is_left_as_it_was() -> None:
    model = network()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    classes = [type(module) for module in model.modules()]
    ag.evaluate(model, {"a": [rule(weight=ag.Quantizer("e2m3"))]}, batches(), task=functional.cross_entropy)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [type(module) for module in model.modules()] == classes
    assert [module.training for module in model] == [True, False, True, True]


def test_scales_of_blocks_count_as_bits() -> None:
    how = ag.Quantizer("e2m1", scaling=ag.Scaling(granularity="block:4", scale_format="e8m0"))
    (_, found) = ag.evaluate(network(), {"a": [rule(weight=how, activation=how)]}, batches(), task=ag.OneOf(4))
    scales = [8 * 2, 4 * 2]  # of rows of 6 and of 8, in blocks of 4
    assert found.bits == 4 + 8 * sum(scales) / (8 * 6 + 4 * 8)


def test_inputs_may_be_keywords_and_outputs_may_have_logits() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=8, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    model, tokens = transformers.GPT2LMHeadModel(config), torch.arange(16).view(2, 8) % 8
    found = ag.evaluate(
        model, {"a": [rule(weight=ag.Quantizer("e4m3"))]}, [({"input_ids": tokens}, tokens)], task=ag.NextToken(8)
    )
    assert {layer.layer for layer in found[1].layers} >= {"transformer.h.0.mlp.c_fc", "lm_head"}


def test_mistakes_are_explained() -> None:
    with pytest.raises(ag.ManifestError, match="there are no batches"):
        ag.evaluate(network(), {}, [], task=ag.OneOf(4))
    model = network()
    ag.quantize_model(model, [rule(weight=ag.Quantizer("e4m3"))])
    with pytest.raises(ag.ManifestError, match="quantized already"):
        ag.evaluate(model, {}, batches(), task=ag.OneOf(4))
    with pytest.raises(ag.ManifestError, match='no layer matches "mlp"'):
        ag.evaluate(network(), {"a": [ag.Rule("mlp", weight=ag.Quantizer("e4m3"))]}, batches(), task=ag.OneOf(4))


RECIPE = (
    '[[recipe]]\nlayers = "*"\nweight = { format = "e2m1", granularity = "row" }\nactivation = { format = "e4m3" }\n'
)


def test_the_command_evaluates_a_run_under_recipes(tmp_path: Path, tiny: Path, altgrad: Callable[..., Any]) -> None:
    tiny.write_text(tiny.read_text().replace(', scaling = "delayed"', ""))
    assert altgrad("run", tiny, "--out", tmp_path / "run").code == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    told = altgrad("evaluate", tmp_path / "run", "--batches", 1, "--json")
    plain, own = json.loads(told.out)["recipes"]
    assert own["loss"] == summary["validation_loss"] and own["metrics"]["perplexity"] == summary["perplexity"]
    assert (plain["name"], own["name"], plain["bits"]) == ("unquantized", "its own", 32)
    (tmp_path / "rows.toml").write_text(RECIPE)
    told = altgrad("evaluate", tmp_path / "run", "--recipe", tmp_path / "rows.toml", "--csv", tmp_path / "out.csv")
    assert told.code == 0 and "rows" in told.out and "is off the most" in told.out
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["recipe"] for row in rows if not row["layer"]] == ["unquantized", "rows"] and len(rows) > 4
    assert "blocks.0.mlp.fc" in altgrad("evaluate", tmp_path / "run", "--layers").out


def test_the_recipe_of_a_run_has_the_formats_that_it_switched_to(
    tmp_path: Path, tiny: Path, altgrad: Callable[..., Any]
) -> None:
    text = tiny.read_text().replace(', scaling = "delayed"', "")
    tiny.write_text(
        f'{text}\n[[intervention]]\nuse = "rule"\nreading = "loss"\nabove = 0.0\naction = "switch-format"\nto = "bf16"\n'
    )
    assert altgrad("run", tiny, "--out", tmp_path / "run").code == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["switches"] > 0
    _, of_manifest = json.loads(altgrad("evaluate", tiny, "--batches", 1, "--json").out)["recipes"]
    _, own = json.loads(altgrad("evaluate", tmp_path / "run", "--batches", 1, "--json").out)["recipes"]
    assert own["loss"] == summary["validation_loss"] and own["bits"] > of_manifest["bits"]


def test_the_command_evaluates_the_model_of_a_manifest(tiny: Path, altgrad: Callable[..., Any]) -> None:
    told = altgrad("evaluate", tiny, "--batches", 2)
    assert told.code == 0 and "its own" in told.out and "\non 2 validation batches\n" in told.out


def test_the_command_takes_as_many_batches_as_an_evaluation_of_the_run(tiny: Path, altgrad: Callable[..., Any]) -> None:
    assert "\non 1 validation batch\n" in altgrad("evaluate", tiny).out
    told = altgrad("evaluate", tiny, "--set", "run.evaluate_batches=3")
    assert "\non 3 validation batches\n" in told.out


def test_the_command_explains_mistakes(tmp_path: Path, tiny: Path, altgrad: Callable[..., Any]) -> None:
    (tmp_path / "empty").mkdir()
    told = altgrad("evaluate", tmp_path / "empty")
    assert (
        told.code == 2
        and "empty: no run is here; expected the directory of a run, a manifest, or the directory of a pretrained"
        in told.err
    )
    (tmp_path / "empty" / "config.json").write_text("{}")
    told = altgrad("evaluate", tmp_path / "empty")
    assert told.code == 2 and "empty: holds a model, but no data to measure its loss on; say which" in told.err
    (tmp_path / "bad.toml").write_text(RECIPE.replace("e4m3", "e4m4"))
    told = altgrad("evaluate", tiny, "--recipe", tmp_path / "bad.toml")
    assert (
        told.code == 2 and 'bad.toml:4: recipe[0].activation.format: no format "e4m4"; did you mean "e4m3"?' in told.err
    )
    told = altgrad("evaluate", tiny, "--recipe", tmp_path / "none.toml")
    assert told.code == 2 and "none.toml" in told.err
    (tmp_path / "none.toml").write_text("[run]\nsteps = 1\n")
    assert "none.toml: has no [[recipe]]" in altgrad("evaluate", tiny, "--recipe", tmp_path / "none.toml").err


def test_the_help_shows_names_in_brackets(altgrad: Callable[..., Any]) -> None:
    told = " ".join(altgrad("evaluate", "--help").out.replace("│", " ").split())
    assert "whose [model] is" in told and "[[recipe]] tables" in told
