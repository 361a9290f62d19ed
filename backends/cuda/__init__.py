"""The `cuda` backend: kernels, products with cuBLASLt, CUDA graphs, and checks of the toolchain."""
