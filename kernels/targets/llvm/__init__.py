"""Compiles a small subset of Python to machine code of this processor, through LLVM: kernels of the CPU and their threads."""
