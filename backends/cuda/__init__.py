"""The `cuda` backend: its kernels, its products by cuBLASLt, its graphs, and what keeps it from working."""
