"""Kernels that need a whole row or column at once, written by hand once per target with the same names.

`reference` runs on any array library and is the oracle of the others.
"""
