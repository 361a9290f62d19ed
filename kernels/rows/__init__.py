"""Operations that need a whole row or column at once, written by hand once per target with the same names.

`operation` says what one is; `reference` declares them, runs on any array library and is the oracle of the others; `numpy`,
`cpu` (Numba) and `cuda.launches` have a table each, name -> what runs it.
"""
