"""Row and column kernels for CUDA, by family; names, arguments and meaning as in kernels/rows/reference.py.

A team of threads processes a row and reduces it in shared memory. Sums over many rows use a buffer of partial sums that are
added in a fixed order, so that the same call always gives the same bits. `compiled` creates the kernels, `launches` launches
them.
"""
