"""Models of transformers in their own Trainer, watched, interrupted and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import altgrad_core as ag
from altgrad_core.results.lines import RecordReader

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
RULE = ag.Rule(
    "*",
    weight=ag.Quantizer("e4m3"),
    activation=ag.Quantizer("e4m3", scaling="delayed"),
    gradient=ag.Quantizer("e5m2", rounding="stochastic"),
)
ROWS = [{"input_ids": row, "labels": row} for row in (torch.arange(16 * 8) * 7 % 16).view(16, 8)]


def trainer(out: Path, **options: Any) -> Any:
    from altgrad_core.integrations.huggingface import WatchCallback

    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    model = transformers.GPT2LMHeadModel(config)
    plan = ag.quantize_model(model, [RULE])
    arguments = {
        "output_dir": str(out), "max_steps": 6, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2,
        "save_steps": 3, "logging_steps": 1, "report_to": [], "disable_tqdm": True, "use_cpu": True, "seed": 1,
        "learning_rate": 0.01,
    }  # fmt: skip
    callback = WatchCallback(plan, monitors=["stable-rank", "flips"], every=2)
    return transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(**{**arguments, **options}),
        train_dataset=ROWS,
        eval_dataset=ROWS[:4],
        callbacks=[callback],
    )


class Interrupt(transformers.TrainerCallback):
    """Cuts a training short, after a step beyond the checkpoint."""

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        if state.global_step == 4:
            raise KeyboardInterrupt


def test_a_trainer_writes_the_records_of_a_run(tmp_path: Path, altgrad: Callable[..., Any]) -> None:
    own = trainer(tmp_path / "out", eval_strategy="steps", eval_steps=3)
    own.train()
    assert altgrad("diagnose", tmp_path / "out" / "altgrad").code == 0
    run: Any = ag.load(tmp_path / "out" / "altgrad")
    assert run.status == "finished" and run.validation_loss == own.evaluate()["eval_loss"]
    losses = run.losses()
    mine = losses[losses["phase"] == "train"]["loss"].tolist()
    theirs = [entry["loss"] for entry in own.state.log_history if "loss" in entry]
    assert mine == pytest.approx(theirs, rel=1e-3) and len(mine) == 6
    logged = [entry for entry in own.state.log_history if "altgrad/stable-rank" in entry]
    assert [entry["step"] for entry in logged] == [2, 3, 4, 5, 6]


def test_a_resumed_trainer_gives_the_same_bits(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.train()
    short = trainer(tmp_path / "short" / "whole")
    short.add_callback(Interrupt())
    with pytest.raises(KeyboardInterrupt):
        short.train()
    next(callback for callback in short.callback_handler.callbacks if hasattr(callback, "leave")).leave()
    again = trainer(tmp_path / "short" / "whole")
    again.train(resume_from_checkpoint=True)
    for (name, one), two in zip(whole.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    one, two = (tmp_path / path / "altgrad" / "records.jsonl" for path in ("whole", "short/whole"))
    assert list(RecordReader(one)) == list(RecordReader(two))
