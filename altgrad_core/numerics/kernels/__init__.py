"""Numba kernels of plain arrays and numbers, and what they need of formats; `backends.numba` calls them."""
