"""The `numba` backend: compiled kernels, and steps that are captured once and replayed by threads without Python."""
