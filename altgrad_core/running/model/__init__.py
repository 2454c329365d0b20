"""A model whose layers are quantized: recipe, plan, operands, and what is seen of it."""
