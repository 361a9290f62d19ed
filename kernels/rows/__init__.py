"""Operations on whole rows or columns, with one implementation per target under the same names.

`operation` defines the declaration; `reference` declares all of them and is the reference implementation for any array library;
`numpy`, `cpu` (Numba) and `cuda.launches` each have a table, name -> implementation.
"""
