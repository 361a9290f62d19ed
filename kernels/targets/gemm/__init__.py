"""The GEMM of this package for processors with vector registers of known size; see library.py."""
