"""Every figure: what it shows of plain data, and that nothing in the data can break it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import takewhile
from xml.etree import ElementTree

import pytest

from altgrad_core import load_format
from altgrad_core.experiments.figures.axes import padded
from altgrad_core.experiments.figures.curves import Curve, limits_of, loss_curves
from altgrad_core.experiments.figures.forest import ForestRow, forest
from altgrad_core.experiments.figures.heat import HeatMap, layers_by_step, number_table
from altgrad_core.experiments.figures.number_line import Occupied, number_line
from altgrad_core.experiments.figures.palette import COLOURS, colours_of, dashes_of, markers_of
from altgrad_core.experiments.figures.scatter import Dot, scatter
from altgrad_core.experiments.figures.sensitivity import Level, Sweep, Tried, sensitivity, sweep_limits

NAN = math.nan
TWO = colours_of(["adamw", "grid"])


def texts(svg: str) -> list[str]:
    """The words in a figure, which is well-formed."""
    found = [
        "".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("}text")
    ]
    return [text.replace("\N{MINUS SIGN}", "-") for text in found]


def is_number(text: str) -> bool:
    return re.fullmatch(r"[0-9.]+", text) is not None


def panel(*curves: Curve) -> str:
    return loss_curves(curves, limits=limits_of(curves), colours=TWO, title="e4m3", name="c", label="x")


def swept(*sweeps: Sweep, levels: tuple[Level, ...] = ()) -> str:
    limits = sweep_limits(sweeps, levels)
    return sensitivity(sweeps, levels, limits=limits, colours=TWO, title="e4m3", name="s", label="x")


def occupied(counts: list[int]) -> Occupied:
    return Occupied([-2.0, -1.0, 0.0, 1.0, 2.0], counts, [-1.5, 0.0, 1.5], [1, 2])


def test_labels_have_colours_markers_and_dashes_in_order_of_appearance() -> None:
    assert colours_of(["b", "a", "b"]) == {"b": COLOURS[0], "a": COLOURS[1]}
    assert len(set(markers_of(map(str, range(12))).values())) == 12
    assert len(set(dashes_of(["fp32", "bf16", "fp16"]).values())) == 3


def test_a_forest_says_group_axis_pairs_and_optimizer() -> None:
    rows = [ForestRow("e4m3", "grid", (0.1, 0.3), 0.2, 0.05, 0.4, "n = 2"), ForestRow("e5m2", "grid", (-0.1,), -0.1)]
    shown = texts(forest(rows, axis="loss of adamw less its own", colours=TWO, name="f", label="x"))
    assert {"e4m3", "e5m2", "grid", "n = 2", "loss of adamw less its own", "0.0"} <= set(shown)


def test_where_colours_repeat_a_forest_names_every_row_under_its_group() -> None:
    names = [f"optimizer {i}" for i in range(len(COLOURS) + 1)]
    rows = [ForestRow(group, name, (0.1,), 0.1) for group in ("e4m3", "e5m2") for name in names]
    shown = texts(forest(rows, axis="a", colours=colours_of(names), name="f", label="x"))
    written = [text for text in shown if text in {"e4m3", "e5m2", *names}]
    assert sorted(written) == sorted(["e4m3", *names, "e5m2", *names])


def test_a_forest_draws_an_interval_only_where_there_is_one() -> None:
    def lines(row: ForestRow) -> int:
        return forest([row], axis="a", colours=TWO, name="f", label="x").count(TWO["grid"])

    with_interval = lines(ForestRow("e4m3", "grid", (0.1,), 0.1, 0.0, 0.2))
    assert with_interval == lines(ForestRow("e4m3", "grid", (0.1,), 0.1)) + 1


@pytest.mark.parametrize("largest", [0.0323, 1.87, 0.00071])
def test_a_forest_has_few_numbers_below_so_that_they_do_not_overlap(largest: float) -> None:
    row = ForestRow("e4m3, a variant with a long name", "grid", (largest / 2, largest), largest, 0.0, largest)
    shown = texts(forest([row], axis="a", colours=TWO, name="f", label="x"))
    numbers = [text for text in shown if re.fullmatch(r"-?[0-9.]+", text)]
    assert 2 <= len(numbers) <= 5


@pytest.mark.parametrize(("low", "high"), [(5.47, 5.54), (33.9, 36.2), (9.97, 10.9), (99.9, 100.05), (1.2, 2980.0)])
def test_perplexity_has_several_round_numbers_however_narrow_the_panel(low: float, high: float) -> None:
    limits = (math.log(low), math.log(high))
    svg = loss_curves([Curve("grid", ())], limits=limits, colours=TWO, title="t", name="c", label="x")
    plain = loss_curves([Curve("grid", ())], limits=(100.0, 101.0), colours=TWO, title="t", name="c", label="x")
    assert "perplexity" in texts(svg) and "perplexity" not in texts(plain)
    right = list(takewhile(is_number, reversed(texts(svg)[: texts(svg).index("perplexity")])))
    assert 3 <= len(right) <= 6 and all(low <= float(text) <= high for text in right)


def test_curves_name_their_references_and_read_as_perplexity_too() -> None:
    line = [(10, math.log(40.0)), (20, math.log(20.0))]
    shown = texts(panel(Curve("adamw", (line, line)), Curve("bf16 (adamw)", (line,), is_reference=True)))
    assert {"adamw", "bf16 (adamw)", "step", "validation loss (nats per token)", "perplexity"} <= set(shown)
    assert {"20", "40"} & set(shown)


def test_a_band_is_drawn_from_two_seeds_on() -> None:
    def bands(*runs: list[tuple[int, float]]) -> int:
        return panel(Curve("adamw", runs)).count("PolyCollection")

    assert bands([(1, 2.0), (2, 1.0)]) == 0
    assert bands([(1, 2.0), (2, 1.0)], [(1, 2.5), (2, 1.5)]) == 1


def test_a_diverged_run_is_marked_with_a_cross_and_the_finished_ones_set_the_scale() -> None:
    fine = [(step, 3.0 - step / 100) for step in range(0, 100, 10)]
    lost = [(1, 3.0), (2, 900.0), (3, NAN)]
    alone, both = Curve("adamw", (fine,)), Curve("adamw", (fine,), (lost,))
    assert limits_of([both]) == limits_of([alone])
    assert panel(both).count("<use") == panel(alone).count("<use") + 1


def test_the_first_steps_do_not_set_the_scale() -> None:
    low, high = limits_of([Curve("adamw", ([(1, 50.0), (100, 2.0), (200, 1.0)],))])
    assert 0.9 < low < 1.0 and 2.0 < high < 2.1


def test_a_sweep_rings_the_chosen_rate_and_counts_the_diverged() -> None:
    sweep = Sweep("adamw", (Tried(0.01, (2.0, 2.1), 0, 2), Tried(0.1, (2.5,), 1, 2)), 0.01)
    shown = texts(swept(sweep, levels=(Level("bf16 (adamw)", 1.9),)))
    assert {"1/2", "adamw", "bf16 (adamw)", "learning rate (unit of each optimizer)", "0.01"} <= set(shown)
    assert swept(sweep).count("<use") == swept(Sweep("adamw", sweep.tried, None)).count("<use") + 1


def test_a_loss_far_above_the_others_does_not_flatten_them() -> None:
    tried = [Tried(10.0**-n, (2.0 + n / 10, 2.05 + n / 10), 0, 2) for n in range(5)]
    low, high = sweep_limits([Sweep("adamw", (*tried, Tried(1e-9, (500.0,), 0, 1)))], [])
    assert low < 2.0 < 2.45 < high < 4.0


def heat(*maps: HeatMap) -> str:
    """One figure of these panels."""
    return layers_by_step(maps, limits=(0, 1), what="stall ratio", name="h", label="x")


def test_heat_maps_of_one_reading_are_panels_of_one_figure_with_one_list_of_layers() -> None:
    layers = ("blocks.0.attn", "blocks.0.mlp")
    maps = [HeatMap(f"arm {n}", layers, (10, 50), ((0.1, NAN), (0.2, 0.9))) for n in range(4)]
    shown = texts(heat(*maps))
    assert {"stall ratio", "step", *(f"arm {n}" for n in range(4))} <= set(shown)
    assert [shown.count(layer) for layer in layers] == [2, 2]  # once for each row of two panels
    assert heat(*maps).count("data:image/png") == 5  # with the scale of colours
    ids = re.findall(r'\sid="([^"]*)"', heat(*maps))
    assert len(ids) == len(set(ids))


def test_a_layer_that_one_run_does_not_have_is_empty_there() -> None:
    whole, part = HeatMap("w", ("a", "b"), (1, 2), ((0.1,), (0.2,))), HeatMap("p", ("b",), (1, 2), ((0.2,),))
    shown = texts(heat(whole, part))
    assert [shown.count(layer) for layer in "ab"] == [1, 1]


def test_a_table_of_numbers_writes_them_into_its_cells() -> None:
    svg = number_table(
        [[1.0, NAN]], rows=["attention"], columns=["e4m3", "e5m2"], texts=[["1.5", ""]], unit="dB", title="t", name="n", label="x",
    )  # fmt: skip
    assert {"attention", "e4m3", "e5m2", "1.5", "dB"} <= set(texts(svg))


def test_a_number_line_has_a_stroke_for_every_rung_that_weights_reach_in_colour_where_one_lies() -> None:
    svg = number_line(occupied([0, 3, 2, 0, 0]), title="tiny", name="n", label="x")
    strokes = re.findall(r'id="n-LineCollection_\d+">(.*?)</g>', svg, flags=re.DOTALL)
    assert [group.count("<path") for group in strokes] == [
        1,
        2,
    ]  # faint: 1; in colour: -1 and 0; beyond the weights: -2, 2
    assert {"tiny", "rungs", "weight / scale", "rung, counted from zero"} <= set(texts(svg))


def test_a_scatter_names_both_axes_and_what_colours_and_shapes_mean() -> None:
    dots = [Dot(0.1, 0.01, "grid", "e4m3"), Dot(0.2, -0.01, "grid", "e5m2")]
    shown = texts(scatter(dots, x="stall ratio", y="effect", note="rho 0.3", colours=TWO, name="s", label="x"))
    assert {"stall ratio", "effect", "rho 0.3", "grid", "e4m3", "e5m2"} <= set(shown)


@pytest.mark.parametrize(
    "make",
    [
        lambda: panel(),
        lambda: panel(Curve("adamw", ())),
        lambda: panel(Curve("adamw", ([],), ([],))),
        lambda: panel(Curve("adamw", ([(1, NAN), (2, math.inf)],))),
        lambda: panel(Curve("adamw", ([(1, 2.0)],))),
        lambda: panel(Curve("adamw", ([(1, 900.0), (2, 800.0)],))),
        lambda: panel(Curve("stranger", ([(1, 2.0)],), (), False)),
        lambda: swept(),
        lambda: swept(Sweep("adamw", ())),
        lambda: swept(Sweep("adamw", (Tried(0.1, (), 3, 3),))),
        lambda: swept(Sweep("adamw", (Tried(0.1, (NAN, 2.0), 0, 2),), 0.1)),
        lambda: swept(Sweep("adamw", (Tried(1e-12, (2.0,), 0, 1), Tried(1e12, (2.0,), 0, 1)))),
        lambda: swept(levels=(Level("bf16", 2.0),)),
        lambda: forest([ForestRow("e4m3", "grid", (0.0,), 0.0)], axis="a", colours=TWO, name="f", label="x"),
        lambda: scatter([Dot(0.0, 0.0, "grid", "e4m3")], x="x", y="y", note="", colours=TWO, name="s", label="x"),
        lambda: heat(HeatMap("t", ("a",), (1, 1), ((NAN,),))),
        lambda: number_table([[NAN]], rows=["a"], columns=["b"], texts=[[""]], unit="u", title="t", name="n", label="x"),
        lambda: number_line(occupied([0, 0, 0, 0, 0]), title="t", name="n", label="x"),
    ],
)  # fmt: skip
def test_little_or_strange_data_still_make_a_figure(make: Callable[[], str]) -> None:
    svg = make()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "nan" not in re.sub(r"data:image/png;base64,[^\"]*", "", svg).lower()


@pytest.mark.parametrize("name", ["e0m7", "e7m0", "e2m1", "e8m0", "binary8p3"])
def test_the_number_line_of_any_format_can_be_drawn(name: str) -> None:
    rungs = load_format(name).grid.values
    found = Occupied(rungs, [1] * len(rungs), [rungs[0], rungs[-1]], [len(rungs)])
    assert name in texts(number_line(found, title=name, name="n", label="x"))


def test_the_range_of_values_is_widened_and_never_empty() -> None:
    assert padded([1.0, 2.0, NAN], 0.1) == (0.9, 2.1)
    low, high = padded([3.0])
    assert low < 3.0 < high
    assert padded([NAN]) == (0.0, 1.0)
