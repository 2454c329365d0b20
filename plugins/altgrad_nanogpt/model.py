"""GPT-2 in plain torch, after Radford et al. 2019 and Karpathy's nanoGPT."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from altgrad_nanogpt.width import attention_scale, mark

if TYPE_CHECKING:
    from altgrad_nanogpt import NanoGPT

INIT_STD = 0.02


class Attention(nn.Module):
    """Causal self-attention over several heads."""

    def __init__(self, options: NanoGPT) -> None:
        super().__init__()
        width = options.n_embd
        self.heads, self.dropout = options.n_head, options.dropout
        self.qkv = nn.Linear(width, 3 * width, bias=options.bias)
        self.c_proj = nn.Linear(width, width, bias=options.bias)
        self.drop = nn.Dropout(options.dropout)
        self.scale = None if options.base_width is None else attention_scale(width, options.base_width, options.n_head)
        self.q_norm = nn.LayerNorm(width // self.heads, bias=options.bias) if options.qk_norm else None
        self.k_norm = nn.LayerNorm(width // self.heads, bias=options.bias) if options.qk_norm else None

    def forward(self, x: Tensor) -> Tensor:
        """From and to shape (batch, time, width)."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=self.scale)
        return self.drop(self.c_proj(mixed.transpose(1, 2).flatten(-2)))


class MLP(nn.Module):
    """Two linear layers with GELU between them, four times as wide inside."""

    def __init__(self, options: NanoGPT) -> None:
        super().__init__()
        self.fc = nn.Linear(options.n_embd, 4 * options.n_embd, bias=options.bias)
        self.c_proj = nn.Linear(4 * options.n_embd, options.n_embd, bias=options.bias)
        self.drop = nn.Dropout(options.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """From and to shape (batch, time, width)."""
        return self.drop(self.c_proj(F.gelu(self.fc(x))))


class Block(nn.Module):
    """Attention, then an MLP, each normalizing its input and adding to the residual stream."""

    def __init__(self, options: NanoGPT) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(options.n_embd, bias=options.bias)
        self.attn = Attention(options)
        self.ln_2 = nn.LayerNorm(options.n_embd, bias=options.bias)
        self.mlp = MLP(options)

    def forward(self, x: Tensor) -> Tensor:
        """From and to shape (batch, time, width)."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """Predicts every next token from the tokens up to it."""

    def __init__(self, vocabulary: int, options: NanoGPT) -> None:
        super().__init__()
        width = options.n_embd
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(options.block_size, width)
        self.drop = nn.Dropout(options.dropout)
        self.blocks = nn.ModuleList(Block(options) for _ in range(options.n_layer))
        self.ln_f = nn.LayerNorm(width, bias=options.bias)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        if options.tied:
            self.lm_head.weight = self.wte.weight
        self.width_ratio = 1.0 if options.base_width is None else width / options.base_width
        _initialize(self)
        if self.width_ratio != 1.0:
            mark(self, self.width_ratio)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, shape (batch, time, vocabulary), of tokens, int64 of shape (batch, time)."""
        return self.lm_head(self.states(tokens))

    def states(self, tokens: Tensor) -> Tensor:
        """What the last norm gives, shape (batch, time, width), times the multiplier of the outputs.

        Raises:
            ValueError: the sequence is longer than the model has positions.
        """
        time, longest = tokens.shape[-1], self.wpe.num_embeddings
        if time > longest:
            raise ValueError(
                f"a sequence of {time} tokens, longer than block_size {longest}; cut it or raise block_size"
            )
        x = self.drop(self.wte(tokens) + self.wpe(torch.arange(time, device=tokens.device)))
        for block in self.blocks:
            x = block(x)
        x = self.ln_f(x)
        return x if self.width_ratio == 1.0 else x / self.width_ratio


class Classifier(GPT):
    """Outputs for a whole sequence: those of the mean of its positions, padding left out."""

    def __init__(self, vocabulary: int, outputs: int, padding: int | None, options: NanoGPT) -> None:
        super().__init__(vocabulary, options)
        self.lm_head = nn.Linear(options.n_embd, outputs, bias=False)
        nn.init.normal_(self.lm_head.weight, std=INIT_STD)
        self.padding = padding

    def forward(self, tokens: Tensor) -> Tensor:
        """Outputs, shape (batch, outputs), of tokens, int64 of shape (batch, time)."""
        states = self.states(tokens)
        if self.padding is None:
            return self.lm_head(states.mean(1))
        is_text = (tokens != self.padding).unsqueeze(-1)
        return self.lm_head((states * is_text).sum(1) / is_text.sum(1).clamp(min=1))


def _initialize(model: GPT) -> None:
    """GPT-2's: normal with 0.02, less for what adds to the residual stream, so that its variance stays near 1.

    Of hidden matrices less with the width, where a base width is given; see `altgrad_nanogpt.width`.
    """
    hidden_std = INIT_STD / math.sqrt(model.width_ratio)
    residual_std = hidden_std / math.sqrt(2 * len(model.blocks))
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            own = hidden_std if path.startswith("blocks.") else INIT_STD
            nn.init.normal_(module.weight, std=residual_std if path.endswith("c_proj") else own)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
