"""The test of the tests: each law, and a plugin that breaks it and is told so."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from itertools import count
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import PositiveFloat
from torch import nn

from altgrad_core import (
    Began,
    ClipGradients,
    DatasetSpec,
    Intervention,
    ModelSpec,
    Monitor,
    OptimizerSpec,
    ScaleLearningRate,
    Stop,
    TokenData,
    Tracker,
    TrackerSpec,
    Updated,
)
from altgrad_core.testing import (
    check_dataset,
    check_intervention,
    check_model,
    check_monitor,
    check_optimizer,
    check_tracker,
)


def said(check: Any, plugin: type, **options: Any) -> str:
    """What a check says of a plugin that breaks a law."""
    with pytest.raises(AssertionError) as caught:
        check(plugin, **options)
    return str(caught.value)


# ---- options, of any kind ----


class Sgd(OptimizerSpec):
    """Gradient descent."""

    name: ClassVar = "sgd"
    lr: PositiveFloat = 0.1

    def build(self, groups: Any, geometry: Any) -> Any:
        return torch.optim.SGD(groups, lr=self.lr)


def test_a_class_without_a_docstring_is_told_so() -> None:
    class Silent(Sgd):
        pass

    assert said(check_optimizer, Silent) == (
        'optimizer "sgd", law: Its docstring begins with a sentence, which `altgrad list-plugins` shows. '
        "It begins with ''; write one line that ends with a full stop."
    )


def test_a_missing_option_is_asked_for() -> None:
    class Needy(Sgd):
        """Needs a word."""

        word: str

    assert said(check_optimizer, Needy) == (
        'optimizer "sgd" cannot be made: word: Field required; pass it: check_optimizer(Needy, word=...)'
    )


def test_an_option_of_the_wrong_type_is_named() -> None:
    assert said(check_optimizer, Sgd, lr=-1.0) == ('optimizer "sgd" cannot be made: lr: Input should be greater than 0')


def test_an_abstract_class_is_told_what_it_lacks() -> None:
    class Unwritten(Monitor):
        """Unwritten."""

        name: ClassVar = "unwritten"

    assert said(check_monitor, Unwritten) == (
        "monitor Unwritten: altgrad_monitors yielded Unwritten, which does not define observe"
    )


def test_options_that_cannot_be_read_back_are_refused() -> None:
    class Odd(Sgd):
        """Holds a complex number."""

        number: complex = 1j
        anything: Any = frozenset({1})

    assert said(check_optimizer, Odd).startswith('optimizer "sgd", law: Written as JSON, as resolved.toml holds them,')


# ---- optimizers ----


class Broken(torch.optim.SGD):
    """A base for optimizers with one fault each."""

    def __init__(self, groups: Any, geometry: Any, lr: float) -> None:
        super().__init__(groups, lr=lr, momentum=0.9)
        self.geometry = geometry

    def every(self) -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
        for group in self.param_groups:
            for parameter in group["params"]:
                yield group, parameter


def spec_of(optimizer: type[Broken]) -> type[OptimizerSpec]:
    class Spec(Sgd):
        """Gradient descent with a fault."""

        def build(self, groups: Any, geometry: Any) -> Any:
            return optimizer(groups, geometry, self.lr)

    return Spec


class KeepsGeometryInState(Broken):
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for _, parameter in self.every():
            self.state[parameter]["geometry"] = self.geometry.get(parameter)
        return loss


class IgnoresTheRate(Broken):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for _, parameter in self.every():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
        return closure() if closure else None


class MovesWithoutGradient(Broken):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group, parameter in self.every():
            parameter *= 1 - 0.1 * group["lr"]
        return loss


class DividesByTheWeight(Broken):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group, parameter in self.every():
            if parameter.grad is not None:
                parameter -= group["lr"] * 1e-30 * parameter.grad.sign() / parameter.abs()
        return loss


class HasAMemoryOfItsOwn(Broken):
    def step(self, closure: Any = None) -> Any:
        self.count = getattr(self, "count", 0) + 1
        for group in self.param_groups:
            group["momentum"] = 0.9 if self.count > 3 else 0.0
        return super().step(closure)


class UsesNumpysGenerator(Broken):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group, parameter in self.every():
            if parameter.grad is not None:
                parameter -= group["lr"] * 1e-3 * np.random.random()
        return loss


class UsesTheScaleAlone(Broken):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group, parameter in self.every():
            if parameter.grad is not None and parameter in self.geometry:
                parameter -= group["lr"] * 1e-3 * parameter.grad.sign() * self.geometry[parameter].scale
        return loss


class Climbs(Broken):
    def __init__(self, groups: Any, geometry: Any, lr: float) -> None:
        super().__init__(groups, geometry, lr)
        for group in self.param_groups:
            group["maximize"] = True


@pytest.mark.parametrize(
    ("optimizer", "breach"),
    [
        (KeepsGeometryInState, "state_dict holds plain data and tensors alone"),
        (IgnoresTheRate, 'It takes its rate from group["lr"]'),
        (MovesWithoutGradient, "A parameter without a gradient does not move"),
        (DividesByTheWeight, "Zero gradients, zero weights, and weights at and beyond the ends of the grid"),
        (HasAMemoryOfItsOwn, "A fresh optimizer that loads a saved state goes on, bit for bit"),
        (UsesNumpysGenerator, "Random numbers come from torch's default generator alone"),
        (UsesTheScaleAlone, "E0M7 and E1M6 are one grid up to a power of two"),
        (Climbs, "Over 60 steps the loss of a tiny model falls"),
    ],
)
def test_an_optimizer_with_one_fault_is_caught(optimizer: type[Broken], breach: str) -> None:
    assert said(check_optimizer, spec_of(optimizer)).startswith(f'optimizer "sgd", law: {breach}')


def test_the_geometry_in_the_state_is_named() -> None:
    assert said(check_optimizer, spec_of(KeepsGeometryInState)).endswith(
        "state_dict.state.1.geometry is a Geometry; state is plain data (numbers, strings, lists, dicts) and tensors. "
        "Keep the geometry as an attribute of the optimizer."
    )


def test_a_rate_that_is_ignored_is_caught() -> None:
    class Closing(IgnoresTheRate):
        def step(self, closure: Any = None) -> Any:
            with torch.enable_grad():
                loss = closure() if closure else None
            super().step()
            return loss

    assert said(check_optimizer, spec_of(Closing)) == (
        'optimizer "sgd", law: It takes its rate from group["lr"]: at 0, where a schedule may end, no weight moves, '
        "not even by decay. In e4m3b7-fn: embed.weight moved."
    )


def test_a_forgotten_parameter_is_caught() -> None:
    class Forgets(Sgd):
        """Trains matrices alone."""

        def build(self, groups: Any, geometry: Any) -> Any:
            return torch.optim.SGD(groups[:1], lr=self.lr)

    assert said(check_optimizer, Forgets).endswith("In e4m3b7-fn: the groups hold 4 of 8 parameters.")


def test_a_rate_that_is_no_option_is_caught() -> None:
    class Fixed(OptimizerSpec):
        """Gradient descent at one rate."""

        name: ClassVar = "fixed"

        def build(self, groups: Any, geometry: Any) -> Any:
            return torch.optim.SGD(groups, lr=0.1)

    assert said(check_optimizer, Fixed).endswith("Its options are none.")


# ---- monitors ----


class Largest(Monitor):
    """Largest weight by layer."""

    name: ClassVar = "largest"

    def observe(self, event: Any) -> Any:
        return {w.path: float(w.after.abs().max()) for w in event.weights(self.layers)}


class Writes(Largest):
    """Writes to a weight."""

    def observe(self, event: Any) -> Any:
        for weight in event.weights(self.layers):
            weight.after[0, 0] = 0.0
        return super().observe(event)


class Rolls(Largest):
    """Draws a random number."""

    def observe(self, event: Any) -> Any:
        random.random()
        return super().observe(event)


class LooksEverywhere(Largest):
    """Ignores layers."""

    def observe(self, event: Any) -> Any:
        return {w.path: 1.0 for w in event.weights("*")}


class Invents(Largest):
    """Invents a layer."""

    def observe(self, event: Any) -> Any:
        return {"attic": 1.0}


class Undeclared(Largest):
    """Reports what it does not declare."""

    def observe(self, event: Any) -> Any:
        return {"surprise": {"*": 1.0}}


class Wordy(Largest):
    """Reports words."""

    def observe(self, event: Any) -> Any:
        return {"*": "much"}


class Mute(Largest):
    """Reports nothing."""

    def observe(self, event: Any) -> Any:
        return {}


class TooEager(Largest):
    """Sees every step, and reports it."""

    sees_every_step: ClassVar = True


class Forgetful(Largest):
    """Counts steps in a place that is not saved."""

    seen: ClassVar[dict[int, list[Any]]] = {}

    def observe(self, event: Any) -> Any:
        kept = self.seen.setdefault(id(self), [0, self])  # itself too, so that no other gets its id
        kept[0] += 1
        return {"*": kept[0]}


class Unpackable(Largest):
    """Keeps what no checkpoint can hold."""

    _kept: Any = None

    def observe(self, event: Any) -> Any:
        self._kept = event
        return {"*": 1}


class Shared(Largest):
    """Counts for all instances."""

    count: ClassVar[list[int]] = [0]

    def observe(self, event: Any) -> Any:
        self.count[0] += 1
        return {"*": self.count[0]}


class Fragile(Largest):
    """Takes whole numbers of weights."""

    def observe(self, event: Any) -> Any:
        return {w.path: int(w.after.abs().max()) for w in event.weights(self.layers)}


class Dividing(Largest):
    """Divides by the gradient."""

    def observe(self, event: Any) -> Any:
        return {w.path: 1 / float(w.gradient.abs().nan_to_num(1).max()) for w in event.weights(self.layers)}


class AskingForMore(Largest):
    """Needs what there is not."""

    needs: ClassVar = frozenset({"before", "tomorrow"})


@pytest.mark.parametrize(
    ("monitor", "breach"),
    [
        (Writes, "random generator. At Updated 1: it changed the value of embed.weight."),
        (Rolls, "random generator. At Updated 1: it changed random's global generator."),
        (
            LooksEverywhere,
            'With layers = "wide|head" it reports of these layers, or of the whole model. It reported of embed.',
        ),
        (Invents, '"*". largest was about "attic"; the layers are embed, hidden, wide, head.'),
        (
            Undeclared,
            '"*". At Updated 1 it failed with ValueError: observe returned the reading "surprise"; it reports largest.',
        ),
        (Wordy, "\"*\". At Updated 1 it failed with ValueError: could not convert string to float: 'much'."),
        (
            Mute,
            '"*". It reported nothing about the layers embed, hidden, wide, head in 12 steps; pass options that let it.',
        ),
        (TooEager, "it reports at steps 4, 6 and 8 alone. It reported at step 3."),
        (
            Fragile,
            "do not make it raise. It raised ValueError: cannot convert float NaN to integer (at Updated 1)",
        ),
        (Dividing, "do not make it raise. It raised ZeroDivisionError: float division by zero (at Updated 1)"),
        (AskingForMore, "needs ['tomorrow']; there is before, rungs."),
    ],
)
def test_a_monitor_with_one_fault_is_caught(monitor: type[Monitor], breach: str) -> None:
    message = said(check_monitor, monitor)
    assert message.startswith('monitor "largest", law: ') and message.endswith(breach)


def test_state_outside_private_attributes_is_caught() -> None:
    assert "it reports what it would have reported. It reported {'kind': 'reading', 'step': 8, " in said(
        check_monitor, Forgetful
    )


def test_state_that_no_checkpoint_can_hold_is_named() -> None:
    assert said(check_monitor, Unpackable).endswith(
        "It raised TypeError: state.monitors.0._kept is a Updated; state is plain data (numbers, strings, lists, dicts) "
        "and tensors"
    )


def test_state_of_the_class_is_caught() -> None:
    assert "what one has observed, the other does not know. First it reported" in said(check_monitor, Shared)


def test_a_monitor_of_another_event_is_watched_there() -> None:
    class AtTheStart(Largest):
        """Largest weight at the start."""

        on: ClassVar = Began

    check_monitor(AtTheStart)


# ---- interventions ----


class Guard(Intervention):
    """Stops when the number is large."""

    name: ClassVar = "guard"
    reads: ClassVar = "largest"
    acts: ClassVar = (Stop,)

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        if any(value > 5 for value in readings.values()):
            yield Stop(because="large")


class Oversteps(Guard):
    """Changes the rate."""

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        yield ScaleLearningRate(factor=0.5, because="why not")


class Unreasoned(Guard):
    """Gives no reason."""

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        yield Stop(because=" ")


class Wild(Guard):
    """Scales by what it reads."""

    acts: ClassVar = (ScaleLearningRate,)

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        yield ScaleLearningRate(factor=float(max(readings.values())), because="so it was read")


class Guesses(Guard):
    """Throws a coin."""

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        if random.random() < 0.5:
            yield Stop(because="heads")


class AssumesLayers(Guard):
    """Thinks that every layer is there every time."""

    _last: dict[str, float] = {}

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        self._last = dict(readings) if not self._last else self._last
        if sum(readings[layer] for layer in self._last) > 5:
            yield Stop(because="large")


class CountsOutside(Guard):
    """Counts in a place that is not saved."""

    seen: ClassVar[dict[int, list[Any]]] = {}

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        kept = self.seen.setdefault(id(self), [0, self])
        kept[0] += 1
        if kept[0] == 21:
            yield Stop(because="twenty")


class Clears(Guard):
    """Empties what it is given."""

    def decide(self, step: int, readings: dict[str, Any]) -> Any:
        readings.clear()
        return ()


class TooLate(Guard):
    """Clips after the update."""

    reads: ClassVar = "validation-loss"
    acts: ClassVar = (ClipGradients,)


class DeclaresNothing(Guard):
    """Declares no action."""

    acts: ClassVar = ()


class ReadsNothing(Guard):
    """Reads several readings, and names none."""

    reads: ClassVar = ()


class Impatient(Guard):
    """Waits for nothing."""

    patience: int = 0


class Quarrelsome(Guard):
    """Wants to be alone."""

    def contradicts(self, other: Intervention) -> str | None:
        return "two are too many"


@pytest.mark.parametrize(
    ("intervention", "breach"),
    [
        (
            Oversteps,
            "ScaleLearningRate(because='why not', factor=0.5, layer='*', reversing=None) at step 1 of zeros for *; it declares Stop.",
        ),
        (Unreasoned, "Stop(because=' ', diverged=False), at step 1 of zeros for *, has no reason: because is empty."),
        (
            Wild,
            "ScaleLearningRate(because='so it was read', factor=nan, layer='*', reversing=None), at step 1 of NaN for *, "
            "has the number nan, which the run cannot use.",
        ),
        (Guesses, "On zeros for * it moved random's global generator."),
        (AssumesLayers, "It raised KeyError: 'blocks.1' (at step 2, asked about {'blocks.2': 0.0})"),
        (
            CountsOutside,
            "Saved after 7 readings of zeros for * it decided [(28, Stop(because='twenty', diverged=False))], expected "
            "[(21, Stop(because='twenty', diverged=False))].",
        ),
        (Clears, "It changed those of zeros for *."),
        (TooLate, "ClipGradients comes too late after validation-loss."),
        (DeclaresNothing, "acts is (); expected a tuple such as (Stop,)."),
        (ReadsNothing, "reads is (); expected the name of a reading, such as validation-loss, or a tuple of several."),
        (Impatient, "It waits for 0 readings."),
        (Quarrelsome, "It contradicts its copy: two are too many."),
    ],
)
def test_an_intervention_with_one_fault_is_caught(intervention: type[Intervention], breach: str) -> None:
    message = said(check_intervention, intervention)
    if intervention is Guesses:  # whichever it notices first
        assert "The same readings give the same actions, and no shared random generator moves." in message
    else:
        assert message.startswith('intervention "guard", law: ') and message.endswith(breach)


def test_a_sound_intervention_passes() -> None:
    check_intervention(Guard)


# ---- models ----


class Bigram(ModelSpec):
    """Predicts each token from the one before it."""

    name: ClassVar = "bigram"
    block_size: int = 8

    def build(self, vocabulary: int) -> Any:
        return nn.Sequential(nn.Embedding(vocabulary, 4), nn.Linear(4, vocabulary))


def model_of(module: type[nn.Module]) -> type[ModelSpec]:
    class Spec(Bigram):
        """A model with a fault."""

        def build(self, vocabulary: int) -> Any:
            return module()

    return Spec


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(16, 4), nn.Linear(4, 16)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.embed(tokens))


class LastOnly(Base):
    def forward(self, tokens: Any) -> Any:
        return super().forward(tokens)[:, -1]


class Idle(Base):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(4, 4)


class RollsNumpy(Base):
    def __init__(self) -> None:
        super().__init__()
        self.head.weight.data.fill_(np.random.random())


class NeverStill(Base):
    def forward(self, tokens: Any) -> Any:
        return super().forward(tokens) + torch.rand(())


class HiddenState(Base):
    def __init__(self) -> None:
        super().__init__()
        self.shift = float(torch.rand(()))

    def forward(self, tokens: Any) -> Any:
        return super().forward(tokens) + self.shift


class NoLinear(Base):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(16, 16), nn.Identity()  # type: ignore[assignment]


class ReadsTheWeight(Base):
    def forward(self, tokens: Any) -> Any:
        return self.embed(tokens) @ self.head.weight.T + self.head.bias


@pytest.mark.parametrize(
    ("module", "breach"),
    [
        (LastOnly, "1 tokens gave torch.float32 of shape (2, 16), expected shape (2, 1, 16)."),
        (Idle, "A gradient reaches every parameter that is trained. None reached spare.weight."),
        (RollsNumpy, "Built twice from one seed, it began with another head.weight."),
        (NeverStill, "The logits were others the second time."),
        (HiddenState, "After load_state_dict they were others."),
        (NoLinear, "It has none, so that a recipe can quantize nothing."),
        (
            ReadsTheWeight,
            "The weight of head was never quantized: its layer is not called in the forward and backward pass.",
        ),
    ],
)
def test_a_model_with_one_fault_is_caught(module: type[nn.Module], breach: str) -> None:
    message = said(check_model, model_of(module))
    assert message.startswith('model "bigram", law: ') and message.endswith(breach)


def test_a_sound_model_passes() -> None:
    check_model(Bigram)


# ---- data sets ----


def data_of(data: Any) -> type[DatasetSpec]:
    class Spec(DatasetSpec):
        """Some tokens."""

        name: ClassVar = "some"

        def build(self) -> Any:
            return data() if callable(data) else data

    return Spec


TEN = np.arange(10)
COUNT = count()


@pytest.mark.parametrize(
    ("data", "breach"),
    [
        (TEN, "It returned ndarray."),
        (TokenData(TEN, TEN, 1), "The vocabulary was 1."),
        (TokenData(TEN, TEN, 5), "The train split had values from 0 to 9, with a vocabulary of 5."),
        (TokenData(TEN, TEN[:0], 10), "The validation split was empty."),
        (TokenData(TEN.astype(float), TEN, 10), "The train split was float64 of shape (10,)."),
        (TokenData(TEN.reshape(2, 5), TEN, 10), "The train split was int64 of shape (2, 5)."),
        (TokenData([1, 2], TEN, 10), "The train split was list."),  # type: ignore[arg-type]
        (TokenData(TEN, TEN, 10, {"n": TEN[0]}), "Object of type int64 is not JSON serializable: {'n': np.int64(0)}."),
        (TokenData(TEN, TEN, 10, {"loss_floor": 3.0}), "loss_floor was 3.0."),
        (
            lambda: TokenData(np.random.randint(10, size=50), TEN, 10),
            "Building it moves no shared random generator. It moved numpy's global generator.",
        ),
        (
            lambda: TokenData(TEN, TEN[next(COUNT) :], 10),
            "The validation split was another the second time.",
        ),
    ],
)
def test_a_data_set_with_one_fault_is_caught(data: Any, breach: str) -> None:
    message = said(check_dataset, data_of(data))
    assert message.startswith('dataset "some", law: ') and message.endswith(breach)


def test_a_sound_data_set_passes() -> None:
    check_dataset(data_of(TokenData(TEN, TEN, 10, {"loss_floor": 0.5})))


# ---- trackers ----


class Sink(Tracker):
    def write(self, record: Any) -> None:
        pass

    def close(self, status: str) -> str | None:
        return None


def tracker_of(tracker: type) -> type[TrackerSpec]:
    class Spec(TrackerSpec):
        """Goes nowhere."""

        name: ClassVar = "nowhere"

        def build(self, run: Any) -> Any:
            return tracker()

    return Spec


class Renames(Sink):
    def write(self, record: Any) -> None:
        record["kind"] = "mine"


class WantsTheMainThread(Sink):
    def __init__(self) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


class WantsNumbers(Sink):
    def write(self, record: Any) -> None:
        if record["kind"] == "step":
            int(record["loss"])


class SaysTrue(Sink):
    def close(self, status: str) -> Any:
        return True


@pytest.mark.parametrize(
    ("tracker", "breach"),
    [
        (Renames, "'data': {}, 'formats': []}."),
        (WantsTheMainThread, "It raised ValueError: signal only works in main thread of the main interpreter"),
        (WantsNumbers, "It raised ValueError: invalid literal for int() with base 10: 'NaN'"),
        (SaysTrue, "close returned True."),
        (dict, "build returned {}; expected a Tracker."),
    ],
)
def test_a_tracker_with_one_fault_is_caught(tracker: type, breach: str) -> None:
    message = said(check_tracker, tracker_of(tracker))
    assert message.startswith('tracker "nowhere", law: ')
    assert message.endswith(breach)


def test_a_sound_tracker_passes() -> None:
    check_tracker(tracker_of(Sink))


def test_updated_is_the_event_of_a_monitor_by_default() -> None:
    assert Largest.on is Updated
