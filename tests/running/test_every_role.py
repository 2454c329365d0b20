"""A run whose recipe has every role: interrupted and resumed, shown before it begins, and warned of where it is thin."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.running.conftest import Runs

ATTENTION_AND_MOMENTS = """
[[recipe]]
layers = "*"
query = { format = "e4m3" }
key = { format = "e4m3", scaling = "delayed" }
probability = { format = "e4m3", rounding = "stochastic" }
value = { format = "e4m3", granularity = "row" }
score_gradient = { format = "e5m2", rounding = "stochastic" }
output_gradient = { format = "e5m2" }
moment = { format = "e4m3", granularity = "block:8", rounding = "stochastic" }
second_moment = { format = "e5m2", scaling = "delayed", rounding = "stochastic" }

[[monitor]]
use = "stability"
every = 4
"""


@pytest.mark.parametrize("optimizer", ['{ use = "adamw", lr = 0.01 }', '{ use = "manifold-adamw", lr = 0.1 }'])
def test_attention_and_moments_resume_bit_for_bit(optimizer: str, runs: Runs) -> None:
    runs.text += ATTENTION_AND_MOMENTS
    runs.begin("whole", f"optimizer={optimizer}")
    runs.begin("parts", f"optimizer={optimizer}", at=3)
    assert runs.resume("parts", at=10).status == "interrupted"
    assert runs.resume("parts").status == "finished"
    assert runs.result("parts") == runs.result("whole")
    readings = {r["reading"] for r in runs.records("whole") if r["kind"] == "reading"}
    assert {"query-amax", "score_gradient-underflow-rate", "moment-scale", "second_moment-amax"} <= readings


def test_check_lists_attention_and_moments(altgrad: Callable[..., Any], tiny: Path) -> None:
    tiny.write_text(tiny.read_text() + ATTENTION_AND_MOMENTS.partition("[[monitor]]")[0])
    plan = json.loads(altgrad("check", tiny, "--json").out)
    assert plan["layers"]["blocks.0.attn"] == {
        "shape": [],
        "query": "e4m3 amax",
        "key": "e4m3 delayed",
        "probability": "e4m3 amax stochastic",
        "value": "e4m3 amax/row",
        "score_gradient": "e5m2 amax stochastic",
        "output_gradient": "e5m2 amax",
    }
    assert plan["layers"]["lm_head"]["moment"] == "e4m3 amax/block:8 stochastic"
    shown = altgrad("check", tiny).out
    assert "second_moment" in shown and "query" in shown


def test_run_and_check_warn_of_a_star_that_covers_little(
    altgrad: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recurrent.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, vocab_size):\n"
        "        super().__init__()\n"
        "        self.table, self.rnn = nn.Embedding(vocab_size, 16), nn.LSTM(16, 16, batch_first=True)\n"
        "        self.head = nn.Linear(16, vocab_size)\n"
        "    def forward(self, tokens):\n"
        "        return self.head(self.rnn(self.table(tokens))[0])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    text = tiny.read_text().partition("[[recipe]]")[0] + '[[recipe]]\nlayers = "*"\nweight = { format = "e4m3" }\n'
    tiny.write_text(text)
    settings = ("--set", "model={use='recurrent:Net', block_size=16}")
    for command in (("check",), ("run", "--out", tmp_path / "run")):
        with pytest.warns(UserWarning, match=r'layers = "\*" covers .* of the matrices of this model') as caught:
            altgrad(command[0], tiny, *settings, *command[1:])
        assert "not rnn: a recurrent layer" in str(caught[0].message)


@pytest.mark.parametrize(
    ("optimizer", "kept"),
    [('{ use = "sgd", momentum = 0.0 }', "sgd keeps nothing"), ('{ use = "grid" }', "grid keeps velocity, broken")],
)
def test_an_optimizer_without_moments_is_refused_before_the_first_step(
    optimizer: str, kept: str, altgrad: Callable[..., Any], tiny: Path
) -> None:
    tiny.write_text(tiny.read_text() + '[[recipe]]\nlayers = "blocks.*"\nmoment = { format = "e4m3" }\n')
    said = altgrad("check", tiny, "--set", f"optimizer={optimizer}")
    assert said.code == 2
    assert said.err.endswith(
        "recipe: the recipe quantizes the moment and second_moment of blocks.0.attn.c_proj, which optimizers keep as "
        f"exp_avg or momentum_buffer or exp_avg_sq or square_avg or max_exp_avg_sq; {kept}\n"
    )
