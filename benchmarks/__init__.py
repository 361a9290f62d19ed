"""Timing of steps and kernels, beside the matrix products alone and beside other libraries, in one run.

`fusedstep bench` and `fusedstep profile` are the ways in; nothing of the package imports this folder.
"""
