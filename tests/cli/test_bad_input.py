"""A user's mistake gets exit code 2 and one message: where, what came, what was expected, what to try."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altgrad_core import load_format
from altgrad_core.registry.registry import installed

LAYERS = "wte, wpe, blocks.0.attn.qkv, blocks.0.attn.c_proj, blocks.0.mlp.fc, blocks.0.mlp.c_proj, lm_head"
WITH_ATTENTION = (
    "wte, wpe, blocks.0.ln_1, blocks.0.attn, blocks.0.attn.qkv, blocks.0.attn.c_proj, blocks.0.ln_2, blocks.0.mlp.fc, "
    "blocks.0.mlp.c_proj, ln_f, lm_head"
)
WITHOUT_NORMS = LAYERS.replace("blocks.0.attn.qkv", "blocks.0.attn, blocks.0.attn.qkv")
OPTIMIZERS = ", ".join(installed().names("optimizer"))
INTERVENTIONS = ", ".join(installed().names("intervention"))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("optimizer.use=adamww", 'optimizer.use: no optimizer "adamww"; did you mean "adamw"?'),
        ("optimizer.use=zzz", f'optimizer.use: no optimizer "zzz"; there is {OPTIMIZERS}; any other class is written '
         '"module:Class", such as "torch.optim:NAdam"'),
        ("optimizer.lrr=1", 'optimizer.lrr: manifold-adamw has no option "lrr"; did you mean "lr"?'),
        ("optimizer.lr='a'", 'optimizer.lr: expected a valid number, got "a"'),
        ("optimizer.lr=-1", "optimizer.lr: expected a value greater than 0, got -1"),
        ("model.use=nanogtp", 'model.use: no model "nanogtp"; did you mean "nanogpt"?'),
        ("data.use=python-doc", 'data.use: no dataset "python-doc"; did you mean "python-docs"?'),
        ("monitor.0.use=flip", 'monitor[0].use: no monitor "flip"; did you mean "flips"?'),
        ("monitor.0.every=0", "monitor[0].every: expected a value greater than 0, got 0"),
        ("intervention.0.use=x", f'intervention[0].use: no intervention "x"; there is {INTERVENTIONS}'),
        ("tracker=[{use='wandbb'}]", 'tracker[0].use: no tracker "wandbb"; did you mean "wandb"?'),
        ("recipe.0.weight.format=e4m4", 'recipe[0].weight.format: no format "e4m4"; did you mean "e4m3"?'),
        ("recipe.0.weight.rounding=up", "recipe[0].weight.rounding: expected nearest-even, nearest-away, toward-zero, toward-positive, toward-negative, stochastic, "
         'nearest-odd, to-odd, or stochastic:N with N random bits, 1 to 23, got "up"'),
        ("recipe.0.weight.granularity=rows", 'recipe[0].weight.granularity: expected tensor, row, column, block:N, tile:RxC, such as block:32, tile:128x128, got "rows"'),
        ("recipe.0.weight={format='e4m3',scaling='delayed',granularity='row'}",
         "recipe[0].weight: delayed scaling knows the tensor of earlier steps, not its rows: granularity \"row\" goes with "
         'scaling "amax"'),
        ("recipe.0.weight.format={exponent_bits=9,mantissa_bits=9}",
         'recipe[0].weight.format: a format of 9 exponent and 9 mantissa bits has 19 bits in all; 2 to 16 are possible'),
        ("recipe.0.weight.format={exponent_bits=4}", "recipe[0].weight.format.mantissa_bits: missing; expected an integer"),
        ("recipe.0.layers=block.*", f'recipe[0].layers: no layer matches "block.*"; did you mean "blocks.0.attn"? the layers are: {WITHOUT_NORMS}'),
        ("recipe.0.layers=lm_hed", f'recipe[0].layers: no layer matches "lm_hed"; did you mean "lm_head"? the layers are: {WITH_ATTENTION}'),
        ("monitor.0.layers=q*", f'monitor[0].layers: no layer matches "q*"; the layers are: {LAYERS}'),
        ("intervention=[{use='widen-stalled'}]", "intervention[0].to: missing; expected text"),
        ("model.use=nowhere:make", 'model.use: cannot import "nowhere:make": ModuleNotFoundError: No module named \'nowhere\''),
        ("model.use=math:nothing", "model.use: cannot import \"math:nothing\": AttributeError: module 'math' has no attribute 'nothing'"),
        ("model.use=math:pi", 'model.use: "math:pi" is 3.141592653589793; expected a function that makes an nn.Module'),
        ("run.device=cuba", "run.device: expected 'auto', 'cpu' or 'cuda', got \"cuba\""),
    ],
)  # fmt: skip
def test_a_wrong_value_is_explained(altgrad: Callable[..., Any], tiny: Path, setting: str, said: str) -> None:
    result = altgrad("check", tiny, "--set", setting)
    assert (result.code, result.out, result.err) == (2, "", f"altgrad: --set: {said}\n")


def test_errors_in_the_file_carry_its_line(altgrad: Callable[..., Any], tiny: Path) -> None:
    tiny.write_text(tiny.read_text().replace('format = "e5m2"', 'format = "e5m3"'))
    line = next(i for i, text in enumerate(tiny.read_text().splitlines(), start=1) if "e5m3" in text)
    result = altgrad("check", tiny)
    assert result.err == f'altgrad: {tiny}:{line}: recipe[0].gradient.format: no format "e5m3"; did you mean "e5m2"?\n'


def test_more_heads_than_fit_are_refused(altgrad: Callable[..., Any], tiny: Path) -> None:
    result = altgrad("check", tiny, "--set", "model.n_head=3")
    said = "model: n_embd 16 is not divisible by n_head 3; nearest n_head that fits: 2 or 4"
    assert (result.code, result.err) == (2, f"altgrad: {tiny}:10 with --set: {said}\n")


def test_an_intervention_that_nothing_informs_is_refused_with_the_monitor_to_add(
    altgrad: Callable[..., Any], tiny: Path
) -> None:
    settings = ["--set", "monitor=[]", "--set", "intervention=[{use='widen-stalled', to='e3m4'}]"]
    result = altgrad("check", tiny, *settings)
    said = 'intervention[0]: widen-stalled reads "flip-rate", which nothing reports; add [[monitor]] use = "flips"'
    assert (result.code, result.err) == (2, f"altgrad: --set: {said}\n")


@pytest.mark.parametrize("activation", ["e4m3", "fp32"])
def test_switching_to_the_identity_is_refused(altgrad: Callable[..., Any], tiny: Path, activation: str) -> None:
    settings = ["--set", f"recipe[0].activation.format={activation}"]
    result = altgrad("check", tiny, *settings, "--set", "intervention=[{use='widen-stalled', to='fp32'}]")
    said = 'intervention[0].to: "fp32" is the identity: nothing can be switched to it'
    assert (result.code, result.err) == (2, f"altgrad: --set: {said}\n")


def test_data_shorter_than_one_block_is_refused(altgrad: Callable[..., Any], tiny: Path) -> None:
    result = altgrad("check", tiny, "--set", "data.tokens=40")
    said = (
        "data: the validation split has 4 tokens, shorter than one block of 16 tokens and the token after it; "
        "give more text or a smaller model.block_size"
    )
    assert (result.code, result.err) == (2, f"altgrad: {tiny}:17 with --set: {said}\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, 'no file matches "a.txt" (looked in {folder}); paths are relative to the manifest, and "**/*.txt" searches all folders below'),
        (b"", "{folder}/a.txt is empty; remove it from the list or put text in it"),
    ],
)  # fmt: skip
def test_text_files_that_are_absent_or_empty_are_named(
    altgrad: Callable[..., Any], tiny: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tiny.parent / "a.txt").write_bytes(content)
    result = altgrad("check", tiny, "--set", "data={use='text-files', paths=['a.txt']}")
    expected = f"altgrad: {tiny}: data.paths[0]: {said.format(folder=tiny.parent)}\n"
    assert (result.code, result.err) == (2, expected)


@pytest.mark.parametrize("matrix", ["", "\n[matrix]\nrun.seed = [1, 2]\n"])
@pytest.mark.parametrize("command", [("run",), ("run", "--dry-run"), ("check",), ("check", "--json")])
def test_cuda_where_there_is_none_is_refused(
    altgrad: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], matrix: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.chdir(tiny.parent)
    tiny.write_text(tiny.read_text() + matrix)
    result = altgrad(command[0], tiny, "--device", "cuda", *command[1:])
    assert list(tiny.parent.iterdir()) == [tiny]
    said = "device cuda: this machine has no CUDA device that torch can use; try --device cpu"
    assert (result.code, result.err) == (2, f"altgrad: {said}\n")


def test_an_unknown_format_to_show_is_guessed_at(altgrad: Callable[..., Any]) -> None:
    result = altgrad("show", "e4m4")
    assert (result.code, result.err) == (2, 'altgrad: no format "e4m4"; did you mean "e4m3"?\n')


def test_an_unknown_kind_to_list_is_answered_with_the_kinds(altgrad: Callable[..., Any]) -> None:
    result = altgrad("list-plugins", "--kind", "colour")
    kinds = "format, optimizer, monitor, intervention, model, layer, dataset, tracker, executor"
    assert (result.code, result.err) == (2, f"altgrad: --kind colour: no such kind; one of {kinds}\n")


def test_an_unknown_option_of_a_command_is_a_wrong_command_line(altgrad: Callable[..., Any]) -> None:
    result = altgrad("run", "--colour")
    assert result.code == 2
    assert "No such option: --colour" in result.err


@pytest.mark.parametrize("setting", ["optimizer.lrr=1", "data.tokens=40", "model.n_head=3", "recipe[0].layers='x'"])
def test_nothing_is_written_by_a_refused_run(
    altgrad: Callable[..., Any], tiny: Path, tmp_path: Path, setting: str
) -> None:
    assert altgrad("run", tiny, "--out", tmp_path / "new" / "run", "--set", setting).code == 2
    assert list(tmp_path.iterdir()) == [tiny]
    (tmp_path / "own").mkdir()
    assert altgrad("run", tiny, "--out", tmp_path / "own", "--set", setting).code == 2
    assert (tmp_path / "own").is_dir()


@pytest.mark.parametrize(
    "factory",
    [
        "def make(vocab_size): raise ValueError('sizes do not fit')",
        "def make(vocab_size): return 3",
    ],
)
def test_a_model_that_cannot_be_made_is_explained(
    altgrad: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch, factory: str
) -> None:
    name = f"bad_model_{abs(hash(factory))}"
    (tiny.parent / f"{name}.py").write_text(factory)
    monkeypatch.syspath_prepend(str(tiny.parent))
    result = altgrad("check", tiny, "--set", f"model={{use='{name}:make'}}")
    reasons = ("model: ValueError: sizes do not fit", "model.use: import path built int 3; expected a torch.nn.Module")
    assert result.code == 2
    assert any(result.err.endswith(f"{reason}\n") for reason in reasons)
    assert "Traceback" not in result.err


def test_a_model_that_exits_crashes_the_run_and_says_so(
    altgrad: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "leaving.py").write_text(
        "import sys\nfrom torch import nn\n"
        "class Leaves(nn.Linear):\n    def forward(self, x): return sys.exit(0) if self.training else x[..., None].float().expand(*x.shape, 16)\n"
        "def make(vocab_size): return Leaves(vocab_size, vocab_size)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = ["--set", "model={use='leaving:make'}", "--set", "recipe=[]", "--set", "monitor=[]"]
    result = altgrad("run", tiny, "--out", tmp_path / "run", *settings)
    assert result.code == 1
    assert "altgrad: crashed after step 0: SystemExit: 0" in result.err
    assert f"altgrad resume {tmp_path / 'run'}" in result.err


def test_a_module_in_the_current_directory_is_found(
    altgrad: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "beside_the_manifest.py").write_text(
        "from torch import nn\ndef make(vocab_size): return nn.Sequential(nn.Embedding(vocab_size, 4), nn.Linear(4, vocab_size))\n"
    )
    monkeypatch.chdir(tmp_path)
    settings = ["--set", "model={use='beside_the_manifest:make'}", "--set", "recipe.0.layers='1'"]
    assert altgrad("check", tiny, *settings).code == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["recipe=3"], "recipe: expected an array ([...], or for tables [[recipe]]), got 3"),
        (["recipe[0].weight=4"], 'recipe[0].weight: expected a table ({ ... }, or [recipe.weight]), got 4'),
        (["recipe=[4]"], "recipe[0]: expected a table ({ ... }, or [[recipe]]), got 4"),
        (["evaluate=[{name='a'}]"], "evaluate[0].recipe: missing; expected a table [[evaluate.recipe]] with layers"),
        (["matrix={search={ranges={'a.b'=1}}}"],
         'matrix.search.ranges.a.b: expected a table ({ ... }, or [matrix.search.ranges."a.b"]), got 1'),
        (["evaluate=[{name='" + "a" * 70 + "', recipe=[{layers='*', weight='e4m3'}]}]"],
         f'evaluate[0].name: expected text of at most 64 characters, got "{"a" * 70}"'),
        (["optimizer.schedule=cosine"], 'optimizer.schedule: expected a table ({ ... }, or [optimizer.schedule]), got "cosine"'),
        (["data={use='text-files', paths=[]}"], "data.paths: expected at least 1, got []"),
        (["model={use='my.models.make'}"],
         'model.use: no model "my.models.make"; there is nanogpt, mlp, transformers; a function of your own is written "module:function"'),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_shape_is_answered_with_the_right_one(
    altgrad: Callable[..., Any], tiny: Path, settings: list[str], said: str
) -> None:
    result = altgrad("check", tiny, *(part for setting in settings for part in ("--set", setting)))
    assert (result.code, result.err) == (2, f"altgrad: --set: {said}\n")


def test_an_inline_format_may_not_take_the_name_of_a_registered_one(altgrad: Callable[..., Any], tiny: Path) -> None:
    setting = "recipe[0].weight.format={exponent_bits=2, mantissa_bits=1, name='e4m3'}"
    result = altgrad("check", tiny, "--set", setting)
    facts = load_format("e4m3").facts()
    said = f'recipe[0].weight.format: "e4m3" is the name of a registered format, {facts}; choose another'
    assert (result.code, result.err) == (2, f"altgrad: --set: {said}\n")


def test_a_model_without_logits_is_refused_before_the_first_step(
    altgrad: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "too_few.py").write_text(
        "from torch import nn\ndef make(vocab_size): return nn.Sequential(nn.Embedding(vocab_size, 4), nn.Linear(4, 3))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = ["--set", "model={use='too_few:make', block_size=16}", "--set", "recipe=[]", "--set", "monitor=[]"]
    result = altgrad("check", tiny, *settings)
    said = (
        "model: it returned a tensor of shape (1, 16, 3); expected logits (batch, time, vocabulary), here (1, 16, 16)"
    )
    assert (result.code, result.err) == (2, f"altgrad: --set: {said}\n")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--steps", "0", "run.steps: expected a value greater than 0, got 0"),
        ("--device", "tpu", "run.device: expected 'auto', 'cpu' or 'cuda', got \"tpu\""),
    ],
)
def test_an_option_of_the_command_line_is_named_as_it_was_given(
    altgrad: Callable[..., Any], tiny: Path, option: str, value: str, said: str
) -> None:
    result = altgrad("check", tiny, option, value)
    assert (result.code, result.err) == (2, f"altgrad: {option}: {said}\n")
