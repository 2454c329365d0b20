"""Any sequence of run, kill, interrupt, resume, overwrite, report, branch and damage: nothing that was finished is lost."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from altgrad_core.errors import AltgradError
from altgrad_core.experiments.report.write import write_report
from altgrad_core.manifest.load import load_manifest
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.record import Record
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.session.branch import Parent
from altgrad_core.running.session.session import begin, resume
from altgrad_core.running.state.checkpoint import checkpoint_steps
from tests.conftest import TINY
from tests.forks import files_in

STEPS = 5
TEXT = TINY.replace("steps = 6", f"steps = {STEPS}").replace("n_embd = 16", "n_embd = 4")
names = st.sampled_from("ab")
moments = st.integers(1, 24)  # records of a whole run, and somewhat more


class Attacks(RuleBasedStateMachine):
    """Two run directories, and what is known to be finished in them.

    Attributes:
        checked: how many steps were checked, in all sequences.
    """

    checked: list[int]

    @initialize()
    def at_first(self) -> None:
        self.checked[0] -= 1  # the invariant is checked once before the first step
        self.folder = Path(tempfile.mkdtemp(prefix="altgrad-attacks-"))
        self.manifest = self.folder / "tiny.toml"
        self.manifest.write_text(TEXT)
        self.finished: dict[str, dict[str, bytes]] = {}  # what of a finished run must stay
        self.damaged: set[str] = set()
        self.branched: set[str] = set()
        self.chance = random.Random(1)

    def teardown(self) -> None:
        try:
            self._finish_all()
        finally:
            shutil.rmtree(self.folder)

    @rule(name=names, overwrite=st.booleans())
    def run(self, name: str, overwrite: bool) -> None:
        self._tried(name, lambda: self._begin(name, overwrite=overwrite), replaces=overwrite)

    @rule(name=names, moment=moments, overwrite=st.booleans())
    def killed(self, name: str, moment: int, overwrite: bool) -> None:
        """A run, or the continuation of one, that is killed when it makes a record."""
        if overwrite:
            self._known_no_more(name)
        self._in_a_fork(lambda: self._go_on(name, _at(moment, signal.SIGKILL), overwrite=overwrite))

    @rule(name=names, moment=moments)
    def interrupted(self, name: str, moment: int) -> None:
        self._tried(name, lambda: self._in_a_fork(lambda: self._go_on(name, _at(moment, signal.SIGTERM))))

    @rule(name=names)
    def resume(self, name: str) -> None:
        self._tried(name, lambda: resume(self._directory(name), installed(), strict=True, show=_nothing))

    @rule(name=names)
    def report(self, name: str) -> None:
        self._tried(name, lambda: write_report(self.folder / name))

    @rule(name=names, other=names)
    def branch(self, name: str, other: str) -> None:
        def branched() -> None:
            parent = Parent.of(str(self.folder / name))
            self._begin(other, parent=parent, settings=(f"run.steps={STEPS + 2}",))
            self.branched.add(other)

        self._tried(other, branched)

    @precondition(lambda self: self.finished)
    @rule(data=st.data(), bit=st.integers(0, 7))
    def damage(self, data: Any, bit: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.finished)))
        file = data.draw(st.sampled_from(sorted(self.finished[name])))
        raw = bytearray((self.folder / name / file).read_bytes())
        if not raw:
            return
        raw[self.chance.randrange(len(raw))] ^= 1 << bit
        (self.folder / name / file).write_bytes(raw)
        self.finished[name][file] = bytes(raw)  # damaged as it is, it is not for the program to change
        self.damaged.add(name)

    @invariant()
    def nothing_finished_is_lost(self) -> None:
        self.checked[0] += 1
        for name, kept in getattr(self, "finished", {}).items():
            here = files_in(self.folder / name)
            assert {file: here.get(file) for file in kept} == kept

    def _directory(self, name: str) -> RunDirectory:
        return RunDirectory(self.folder / name)

    def _begin(
        self, name: str, *, overwrite: bool = False, show: Any = None, parent: Any = None, settings: Any = ()
    ) -> None:
        resolved = resolve(load_manifest(self.manifest, settings), installed())
        begin(resolved, self._directory(name), overwrite=overwrite, show=show or _nothing, parent=parent)

    def _go_on(self, name: str, show: Any, *, overwrite: bool = False) -> None:
        if self._directory(name).is_begun and not overwrite:
            resume(self._directory(name), installed(), strict=True, show=show)
        else:
            self._begin(name, overwrite=overwrite, show=show)

    def _in_a_fork(self, do: Any) -> None:
        """Do it in a process of its own, which a signal may end."""
        child = os.fork()
        if child == 0:
            try:
                do()
            finally:
                os._exit(0)
        os.waitpid(child, 0)

    def _tried(self, name: str, do: Any, *, replaces: bool = False) -> None:
        """Do it; a refusal is one error of AltGrad. What is finished afterwards is known from then on."""
        if replaces:
            self._known_no_more(name)
        try:
            do()
        except AltgradError:
            return
        if self._directory(name).is_finished and name not in self.finished:
            self.finished[name] = self._own_files(name)

    def _own_files(self, name: str) -> dict[str, bytes]:
        """What the run wrote; not the report of one that was here before, which the next report replaces."""
        directory = self._directory(name)
        own = {path.name for path in (*directory.files, directory.checkpoints)}
        return {file: content for file, content in files_in(directory.path).items() if Path(file).parts[0] in own}

    def _known_no_more(self, name: str) -> None:
        self.finished.pop(name, None)
        self.damaged.discard(name)
        self.branched.discard(name)

    def _finish_all(self) -> None:
        """Whatever is unfinished comes to its end, and every run of the manifest is the same one."""
        ends = {}
        for name in "ab":
            directory = self._directory(name)
            if name in self.damaged:
                continue
            self._tried(name, lambda name=name: self._go_on(name, _nothing))
            assert directory.is_finished and name in self.finished
            if name not in self.branched and STEPS in checkpoint_steps(directory.checkpoints):
                newest = directory.checkpoints / f"step-{STEPS}"
                ends[name] = (newest / "model.safetensors").read_bytes(), directory.records.read_bytes()
        assert len(set(ends.values())) <= 1


def _nothing(record: Record) -> None:
    """Show nobody."""


def _at(moment: int, number: int) -> Any:
    """Something to show records to that sends this process a signal at one of them."""
    count = itertools.count(1)

    def show(record: Record) -> None:
        if next(count) == moment:
            os.kill(os.getpid(), number)

    return show


def _steps_of(examples: int, *, most: int, number: int) -> int:
    """Try some sequences of at most so many steps; how many steps they had together."""
    machine: Any = seed(number)(type("Case", (Attacks,), {"checked": [0]}))
    machine.TestCase.settings = settings(
        max_examples=examples,
        stateful_step_count=most,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=(Phase.generate,),  # a sequence that fails is shown as it is: making it shorter takes minutes
    )
    machine.TestCase("runTest").runTest()
    return machine.checked[0]


def test_after_any_sequence_nothing_finished_is_lost(record_property: Any) -> None:
    record_property("tried", _steps_of(3, most=7, number=0))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(1, 9))
def test_after_any_long_sequence_nothing_finished_is_lost(part: int, record_property: Any) -> None:
    record_property("tried", _steps_of(5, most=25, number=part))
