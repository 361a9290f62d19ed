"""The `numba` backend: compiled kernels, and steps that are captured once and run by threads without Python."""
