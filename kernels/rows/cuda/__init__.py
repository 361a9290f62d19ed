"""Row and column kernels for CUDA, by family; names, arguments and meaning as in kernels/rows/reference.py.

A team of threads shares a row and reduces it in shared memory; sums over many rows go through a buffer of partial sums, always
added in the same order, so that the same call always gives the same bits. `compiled` creates kernels from the functions of the
families, `launches` launches them.
"""
