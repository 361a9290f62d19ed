"""The `numba` backend: compiled kernels, and steps that are recorded once and run by threads without Python."""
