"""Tables of a manifest that trains in a second, for tests and benchmarks."""

TINY_GPT = """
[model]
use = "nanogpt"
n_layer = 1
n_head = 2
n_embd = 16
block_size = 16
"""
TINY_TOKENS = """
[data]
use = "synthetic"
vocabulary = 16
tokens = 5000
batch_size = 2
"""
