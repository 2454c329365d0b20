"""Rates of the parameters that are not quantized: said where the two sides of a comparison differ in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.answer import answer
from altgrad_core.experiments.study.study import Study

Read = Callable[..., Study]
REMEDY = "give them one rate in both, by plain_lr or by [[optimizer.group]]."


def cells(made: Any, plain: Any, *, optimizer: str = "manifold-adamw", rates: tuple[float, ...] = (0.01, 0.1, 1.0)) -> list[Any]:  # fmt: skip
    """Two optimizers at these rates; `plain` gives the options of the second at each."""
    return [
        made("e4m3", use, rate, seed, 2.0 + abs(rate - 0.1), options=plain(rate) if use == optimizer else {})
        for use in ("adamw", optimizer)
        for rate in rates
        for seed in (1, 2, 3)
    ]


def about_rates(study: Study) -> list[str]:
    return [caution for caution in answer(Analysis(study)).cautions if "not quantized" in caution]


def test_a_fixed_rate_beside_one_that_is_swept_is_a_caution_and_the_first(study: Read, made: Any) -> None:
    found = answer(Analysis(study(cells(made, lambda rate: {"plain_lr": 0.001}))))
    assert found.cautions[0] == (
        "The optimizer manifold-adamw trains the parameters that are not quantized at plain_lr = 0.001 at every "
        "rate, adamw at the rate "
        f"that is swept: their difference does not come from the quantized weights alone; {REMEDY}"
    )


def test_a_default_that_is_not_written_out_is_a_caution(study: Read, made: Any) -> None:
    assert about_rates(study(cells(made, lambda rate: {}))) == [
        "The optimizer manifold-adamw trains the parameters that are not quantized at the default of its "
        "plain_lr, adamw at the rate that "
        f"is swept: unless the two rates are equal, their difference does not come from the quantized weights "
        f"alone; {REMEDY}"
    ]


def test_a_rate_that_moves_along_is_none(study: Read, made: Any) -> None:
    assert about_rates(study(cells(made, lambda rate: {"plain_lr": rate}))) == []


def test_one_rate_in_both_is_none_and_another_is(study: Read, made: Any) -> None:
    assert about_rates(study(cells(made, lambda rate: {"plain_lr": 0.1}, rates=(0.1,)), place="same")) == []
    other = study(cells(made, lambda rate: {"plain_lr": 0.2}, rates=(0.1,)), place="other")
    assert about_rates(other) == [
        f"The optimizer manifold-adamw trains the parameters that are not quantized at plain_lr = 0.2, adamw at "
        f"its rate, 0.1: their difference does not come from the quantized weights alone; {REMEDY}"
    ]


def test_two_optimizers_that_both_have_one_must_have_the_same(study: Read, made: Any) -> None:
    both = [
        made("e4m3", use, rate, seed, 2.0 + abs(rate - 0.1), options={"plain_lr": plain})
        for use, plain in (("manifold-adamw", 0.01), ("grid", 0.02))
        for rate in (0.01, 0.1, 1.0)
        for seed in (1, 2, 3)
    ]
    assert about_rates(study(both)) == [
        "The optimizer grid trains the parameters that are not quantized at plain_lr = 0.02 at every rate, "
        "manifold-adamw at plain_lr = "
        f"0.01 at every rate: their difference does not come from the quantized weights alone; {REMEDY}"
    ]


def test_where_the_optimizer_of_one_group_is_varied_there_is_nothing_to_say(study: Read, made: Any) -> None:
    def group(use: str, rate: float) -> dict[str, Any]:
        member = {"layers": "blocks.*", "only": "matrices", "use": use, "lr": rate, "weight_decay": 0.0}
        return {"optimizer.group": [member]}

    varied = [
        made(rate=0.005, seed=seed, loss=2.0 + abs(rate - 0.1), set=group(use, rate))
        for use in ("adamw", "manifold-adamw")
        for rate in (0.01, 0.1, 1.0)
        for seed in (1, 2, 3)
    ]
    found = study(varied)
    assert len(found.optimizers()) == 2
    assert about_rates(found) == []


def test_the_option_is_the_one_that_a_plugin_declares(study: Read, made: Any) -> None:
    both = [
        made("e4m3", use, rate, seed, 2.0 + abs(rate - 0.1), options=options)
        for use, options in (("adamw", {}), ("adamw-of-others", {"vector_lr": 0.002}))
        for rate in (0.01, 0.1, 1.0)
        for seed in (1, 2, 3)
    ]
    declared = {"plain_rates": {"adamw-of-others": "vector_lr"}, "controls": {}}
    assert about_rates(study(both, place="declared", declared=declared)) == [
        "The optimizer adamw-of-others trains the parameters that are not quantized at vector_lr = 0.002 at "
        "every rate, adamw at the rate "
        "that is swept: their difference does not come from the quantized weights alone; give them one rate in "
        "both, by vector_lr or by "
        "[[optimizer.group]]."
    ]
    assert about_rates(study(both, place="undeclared", declared={"plain_rates": {}, "controls": {}})) == []
