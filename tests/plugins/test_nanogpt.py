"""The model: its layout, its initialization, and that it never looks ahead."""

import json
import math

import pytest
import torch
from altgrad_nanogpt import NanoGPT
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 8}


def build(vocabulary=11, seed=0, **options):
    torch.manual_seed(seed)
    return NanoGPT(**{**SMALL, **options}).build(vocabulary)


def refusal(**options):
    with pytest.raises(ValidationError) as caught:
        NanoGPT.model_validate_json(json.dumps(options))
    return caught.value.errors()[0]["msg"].removeprefix("Value error, ")


def test_linear_layers_stand_at_the_paths_that_recipes_name():
    parts = ("attn.qkv", "attn.c_proj", "mlp.fc", "mlp.c_proj")
    expected = [f"blocks.{n}.{part}" for n in range(2) for part in parts] + ["lm_head"]
    assert [path for path, module in build().named_modules() if isinstance(module, nn.Linear)] == expected


def test_embeddings_and_norms_stand_at_their_paths():
    found = {path: type(m) for path, m in build().named_modules() if isinstance(m, nn.Embedding | nn.LayerNorm)}
    norms = [f"blocks.{n}.ln_{k}" for n in range(2) for k in (1, 2)] + ["ln_f"]
    assert found == {"wte": nn.Embedding, "wpe": nn.Embedding} | dict.fromkeys(norms, nn.LayerNorm)


def test_logits_have_a_row_for_every_token():
    assert build()(torch.zeros(3, 5, dtype=torch.int64)).shape == (3, 5, 11)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_the_parameters_are_as_many_as_the_formula_says(tied, bias):
    vocabulary, width, layers, block = 11, 16, 2, 8
    # a block: 3 + 1 + 4 + 4 square matrices and two gains; with biases 3 + 1 + 4 + 1 + 2 more vectors
    a_block = 12 * width**2 + 2 * width + (11 * width if bias else 0)
    expected = layers * a_block + (vocabulary + block) * width + width + (width if bias else 0)
    expected += 0 if tied else vocabulary * width
    model = build(vocabulary, tied=tied, bias=bias)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


def test_tied_weights_are_one_parameter():
    model = build()
    assert model.lm_head.weight is model.wte.weight
    untied = build(tied=False)
    assert untied.lm_head.weight is not untied.wte.weight


def test_a_later_token_does_not_change_earlier_logits():
    model, tokens = build().eval(), torch.arange(8)[None] % 11
    other = tokens.clone()
    other[0, 5] = 10
    before, after = model(tokens)[0], model(other)[0]
    assert torch.equal(before[:5], after[:5])
    assert not torch.allclose(before[5], after[5])
    assert not torch.allclose(before[7], after[7])


def test_attention_is_what_its_formula_says():
    model = build(bias=True)
    attention, x = model.blocks[0].attn, torch.randn(1, 4, 16)
    q, k, v = attention.qkv(x)[0].split(16, dim=-1)
    heads = []
    for columns in (slice(0, 8), slice(8, 16)):
        scores = q[:, columns] @ k[:, columns].T / math.sqrt(8)
        scores = scores.masked_fill(torch.ones(4, 4).triu(1).bool(), -math.inf)
        heads.append(scores.softmax(-1) @ v[:, columns])
    expected = attention.c_proj(torch.cat(heads, -1))
    torch.testing.assert_close(attention(x)[0], expected)


def test_queries_and_keys_are_normalized_over_the_head_dimension():
    model = build(qk_norm=True)
    attention, x = model.blocks[0].attn, torch.randn(1, 4, 16)
    with torch.no_grad():
        for norm in (attention.q_norm, attention.k_norm):
            norm.weight.copy_(torch.rand(8) + 0.5)
    q, k, v = attention.qkv(x)[0].split(16, dim=-1)
    heads = []
    for columns in (slice(0, 8), slice(8, 16)):
        parts = []
        for part, norm in ((q[:, columns], attention.q_norm), (k[:, columns], attention.k_norm)):
            centred = part - part.mean(-1, keepdim=True)
            parts.append(centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight)
        scores = (parts[0] @ parts[1].T / math.sqrt(8)).masked_fill(torch.ones(4, 4).triu(1).bool(), -math.inf)
        heads.append(scores.softmax(-1) @ v[:, columns])
    torch.testing.assert_close(attention(x)[0], attention.c_proj(torch.cat(heads, -1)))


def test_the_loss_begins_near_that_of_guessing():
    model = build(256, n_embd=128, n_layer=4, n_head=4, block_size=64)
    tokens = torch.randint(256, (8, 65))
    loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(256), abs=0.1)


def test_weights_begin_as_those_of_gpt_2():
    model = build(512, n_embd=64, n_layer=8, bias=True)
    block = model.blocks[3]
    for weight in (model.wte.weight, block.attn.qkv.weight, block.mlp.fc.weight):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    for weight in (block.attn.c_proj.weight, block.mlp.c_proj.weight):
        assert weight.std().item() == pytest.approx(0.005, rel=0.05)  # 0.02 / sqrt(2 * 8)
    assert not block.attn.qkv.bias.any()
    assert torch.equal(block.ln_1.weight, torch.ones(64))


def test_a_seed_gives_the_same_weights():
    one, same, other = (build(seed=seed).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["wte.weight"], other["wte.weight"])


def test_dropout_acts_in_training_only():
    model, tokens = build(dropout=0.5), torch.arange(8)[None]
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))


def test_it_learns_to_count():
    model, tokens = build(seed=1), torch.arange(9)[None]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(100):
        loss = F.cross_entropy(model(tokens[:, :-1])[0], tokens[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_a_sequence_longer_than_the_model_is_refused():
    with pytest.raises(ValueError) as caught:
        build()(torch.zeros(1, 9, dtype=torch.int64))
    assert str(caught.value) == "a sequence of 9 tokens, longer than block_size 8; cut it or raise block_size"


@pytest.mark.parametrize(
    ("width", "heads", "nearest"),
    [(128, 5, "4 or 8"), (7, 3, "1 or 7"), (16, 32, "16"), (1, 2, "1"), (96, 7, "6 or 8")],
)
def test_a_width_that_heads_do_not_divide_is_refused(width, heads, nearest):
    assert refusal(n_embd=width, n_head=heads) == (
        f"n_embd {width} is not divisible by n_head {heads}; nearest n_head that fits: {nearest}"
    )


def test_dropping_everything_is_refused():
    assert refusal(dropout=1.0) == "Input should be less than 1"


def test_options_have_the_documented_defaults():
    assert NanoGPT().model_dump() == {
        "block_size": 128,
        "n_layer": 4,
        "n_head": 4,
        "n_embd": 128,
        "dropout": 0.0,
        "bias": False,
        "tied": True,
        "qk_norm": False,
        "z_loss": 0.0,
        "base_width": None,
    }
