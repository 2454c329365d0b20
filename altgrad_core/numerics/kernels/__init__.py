"""Numba kernels of plain arrays and numbers, and what they are told of formats; `backends.numba` calls them."""
