"""A quantized module in Lightning: fit, validate, test, predict, watched, interrupted and resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import altgrad_core as ag
from altgrad_core.results.lines import RecordReader

lightning = pytest.importorskip("lightning.pytorch")
RULE = ag.Rule(
    "*",
    weight=ag.Quantizer("e4m3"),
    activation=ag.Quantizer("e4m3", scaling="delayed"),
    gradient=ag.Quantizer("e5m2", rounding="stochastic"),
)


class Module(lightning.LightningModule):  # type: ignore[misc]
    """A small classifier."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x: torch.Tensor) -> Any:
        return self.layers(x)

    def _loss(self, batch: Any) -> torch.Tensor:
        x, y = batch
        return nn.functional.cross_entropy(self.layers(x), y)

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        return self._loss(batch)

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", self._loss(batch))

    def test_step(self, batch: Any, index: int) -> None:
        self.log("test_loss", self._loss(batch))

    def predict_step(self, batch: Any, index: int) -> Any:
        return self.layers(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def batches() -> Any:
    x = torch.randn(24, 4, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=4)


def trainer(out: Path, *more: Any, epochs: int = 2) -> tuple[Any, Any, Any]:
    from altgrad_core.integrations.lightning import WatchCallback

    module = Module()
    plan = ag.quantize_model(module, [RULE])
    watching = WatchCallback(plan, monitors=["stable-rank", "flips"], every=2)
    kept = lightning.callbacks.ModelCheckpoint(out, every_n_train_steps=3, save_top_k=-1, filename="{step}")
    made = lightning.Trainer(
        max_epochs=epochs, default_root_dir=out, accelerator="cpu", accumulate_grad_batches=2, logger=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[watching, kept, *more],
    )  # fmt: skip
    return made, module, watching


class Norms(lightning.Callback):  # type: ignore[misc]
    """The norm of the gradients of every step, as Lightning shows them."""

    def __init__(self) -> None:
        self.norms: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.norms.append(float(nn.utils.get_total_norm([p.grad for p in pl_module.parameters()])))


class Interrupt(lightning.Callback):  # type: ignore[misc]
    """Cuts a training short, after a step beyond the checkpoint."""

    def on_train_batch_end(self, trainer: Any, *parts: Any) -> None:
        if trainer.global_step == 4:
            raise ZeroDivisionError


@pytest.mark.filterwarnings("ignore")
def test_fit_is_watched_and_the_other_loops_evaluate(tmp_path: Path) -> None:
    norms = Norms()
    made, module, _ = trainer(tmp_path, norms)
    made.fit(module, batches(), batches())
    run: Any = ag.load(tmp_path / "altgrad")
    steps = [record for record in RecordReader(tmp_path / "altgrad" / "records.jsonl") if record["kind"] == "step"]
    assert [step["gradient_norm"] for step in steps] == norms.norms
    assert run.status == "finished" and run.validation_loss is not None
    assert len(run.losses()[lambda frame: frame["phase"] == "train"]) == 6
    assert set(run.readings("stable-rank")["step"]) == {2, 4, 6}
    assert "altgrad/stable-rank" in made.logged_metrics
    loss = made.validate(module, batches(), verbose=False)[0]["val_loss"]
    assert loss == made.test(module, batches(), verbose=False)[0]["test_loss"]
    outputs = torch.cat(made.predict(module, batches()))
    module.eval()
    with torch.no_grad():
        assert torch.equal(outputs, torch.cat([module(x) for x, _ in batches()]))
        mean = sum(nn.functional.cross_entropy(module(x), y) for x, y in batches()) / 6
    assert loss == pytest.approx(float(mean), rel=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_fit_gives_the_same_bits(tmp_path: Path) -> None:
    made, whole, _ = trainer(tmp_path / "whole")
    made.fit(whole, batches())
    short, module, _ = trainer(tmp_path / "short", Interrupt())
    with pytest.raises(ZeroDivisionError):
        short.fit(module, batches())
    again, resumed, _ = trainer(tmp_path / "short")
    again.fit(resumed, batches(), ckpt_path=tmp_path / "short" / "step=3.ckpt")
    for (name, one), two in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    one, two = (tmp_path / path / "altgrad" / "records.jsonl" for path in ("whole", "short"))
    assert list(RecordReader(one)) == list(RecordReader(two))


@pytest.mark.filterwarnings("ignore")
def test_a_fit_that_ended_goes_on_from_a_checkpoint_saved_after_it(tmp_path: Path) -> None:
    for place in ("whole", "parts"):
        made, module, _ = trainer(tmp_path / place, epochs=2 if place == "whole" else 1)
        made.fit(module, batches())
    made.save_checkpoint(tmp_path / "last.ckpt")
    again, resumed, _ = trainer(tmp_path / "parts")
    again.fit(resumed, batches(), ckpt_path=tmp_path / "last.ckpt")
    losses = [ag.load(tmp_path / place / "altgrad").losses()["loss"].tolist() for place in ("whole", "parts")]
    assert losses[0] == losses[1] and len(losses[0]) == 6
