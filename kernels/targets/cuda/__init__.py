"""The CUDA target: loops around traced formulas, compiled by Numba for the GPU or run by its simulator.

`maps`, `updates` and `bits` generate and launch kernels. Arrays and streams belong to the backend; the hand-written kernels are
in kernels/rows/cuda.
"""
