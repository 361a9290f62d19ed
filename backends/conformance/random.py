"""Checks of random bits, which are the same on every backend."""

from __future__ import annotations

import numpy as np

from ...kernels.rows import reference
from ..contract import Backend, Random
from .comparison import Host, exactly, holds
from .suite import Sizes, check

KNOWN = (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
"""The published words for counter 0 and key 0; the other published counters occur only in very wide matrices.

Source: kat_vectors of Random123 (Salmon et al., 2011).
"""


def plain_bits(rows: int, width: int, seed: int, step: int, first_row: int, stream: int) -> Host:
    """The reference result of `random_bits`."""
    words = [seed & 0xFFFFFFFF, seed >> 32, step & 0xFFFFFFFF, first_row]
    bits: Host = reference.random_bits(np, rows, width, np.array(words, np.uint32), stream)
    return bits


@check("random")
def known_answer(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """A matrix of width 4 uses one counter (0, row, stream, step) per row."""
    got = backend.random_bits(1, 4, Random(backend.random_state(0), 0))
    holds(backend, got, np.array([KNOWN], np.uint32), "bits")


@check("random")
def state(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """The four words of a state; `set_step`, `advance` and `set_first_row`."""
    made = backend.random_state(2**64 - 2, 5, 7)
    holds(backend, made, np.array([2**32 - 2, 2**32 - 1, 5, 7], np.uint32), "state")
    for step in (9, 2**32 - 1, 2**32 + 3):
        backend.set_step(made, step)
        wanted = np.array([2**32 - 2, 2**32 - 1, step % 2**32, 7], np.uint32)
        exactly(backend.to_numpy(made), wanted, f"set_step({step})")
    for step, following in ((9, 10), (2**32 - 1, 0)):
        backend.set_step(made, step)
        backend.advance(made)
        exactly(backend.to_numpy(made), np.array([2**32 - 2, 2**32 - 1, following, 7], np.uint32), f"advance from {step}")
    backend.set_step(made, 2**32 + 3)
    backend.set_first_row(made, 2**31 + 5)
    wanted[3] = 2**31 + 5
    exactly(backend.to_numpy(made), wanted, "set_first_row")


@check("random", stream=(0, 0x2000_0003, 0xFFFFFFFF))
def bits(backend: Backend, sizes: Sizes, stream: int) -> None:
    """All shapes including narrow ones, 64-bit seeds, any step and first row."""
    shapes = ((1, 1), (2, 2), (3, 3), (2, 4), (2, 5), *sizes.matrices)
    for rows, width in shapes:
        for seed, step, first_row in ((0, 0, 0), (2**63 + 12345, 17, 1000), (2**64 - 1, 2**32 - 1, 3)):
            got = backend.random_bits(rows, width, Random(backend.random_state(seed, step, first_row), stream))
            what = f"{(rows, width)} with seed {seed}, step {step}, first row {first_row}"
            holds(backend, got, plain_bits(rows, width, seed, step, first_row, stream), what)


@check("random")
def rows_stand_alone(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """A state with first row k gives the rows from k on, so that shards of a minibatch get the bits of the whole."""
    whole = backend.to_numpy(backend.random_bits(9, 6, Random(backend.random_state(3, 2), 1)))
    part = backend.to_numpy(backend.random_bits(5, 6, Random(backend.random_state(3, 2, 4), 1)))
    exactly(part, whole[4:])


@check("random")
def permutation(backend: Backend, sizes: Sizes) -> None:
    """Every number occurs once; the order is that of 64 random bits per number."""
    for count in sizes.lengths:
        words = plain_bits(count, 2, 11, 3, 0, 0x3000_0000).astype(np.uint64)
        wanted = np.argsort(words[:, 0] << np.uint64(32) | words[:, 1], kind="stable")
        got = backend.to_numpy(backend.permutation(count, Random(backend.random_state(11, 3), 0x3000_0000)))
        exactly(got.astype(np.int64), wanted, f"{count} numbers")
