"""The kernels of the Triton backend, and what they are told. Modules with kernels import Triton; `facts` does not."""
