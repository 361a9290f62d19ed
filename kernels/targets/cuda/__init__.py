"""The CUDA target: loops around traced formulas, compiled by Numba for the GPU or run by its simulator.

`maps`, `updates` and `bits` launch them. Arrays and streams belong to the backend; hand-written kernels: kernels/rows/cuda.
"""
