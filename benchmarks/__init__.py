"""Timing of steps and kernels, compared with the matrix products alone and with other libraries, in one run.

Used by `fusedstep bench` and `fusedstep profile`; no other part of the package imports this folder.
"""
