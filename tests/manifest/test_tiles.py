"""A manifest's words for tilings and modes become the quantizers of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from altgrad_core.manifest.load import ManifestFile
from altgrad_core.numerics.tiling import Tiling
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.resolve import resolve

MANIFEST: dict[str, Any] = {
    "run": {"name": "tiles", "steps": 1},
    "model": {"use": "nanogpt", "n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16},
    "data": {"use": "synthetic", "vocabulary": 16, "tokens": 4000, "batch_size": 4},
    "optimizer": {"use": "adamw", "lr": 0.01},
    "recipe": [
        {
            "layers": "*",
            "weight": {"format": "e4m3", "granularity": "tile:128x128"},
            "activation": {"format": "e4m3", "granularity": "tile:1x128", "nonfinite": "block"},
            "gradient": {"format": "e5m2", "rounding": "stochastic:8"},
        }
    ],
}


def test_tiles_of_weights_and_activations_and_a_few_random_bits_reach_the_rules() -> None:
    resolved = resolve(ManifestFile(Path("tiles.toml"), "", MANIFEST), installed())
    (rule,) = resolved.rules
    assert rule.weight is not None and rule.activation is not None and rule.gradient is not None
    assert (rule.weight.tiling, rule.activation.tiling) == (Tiling(128, 128), Tiling(1, 128))
    assert (rule.activation.nonfinite, rule.gradient.mode.random_bits) == ("block", 8)
