"""Philox4x32-10 against the published vectors on every host target, and the layout of the bits in a matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusedstep.backends import Backend, Random, backend
from fusedstep.kernels.formula import Formula
from fusedstep.kernels.formulas.random import philox4x32
from fusedstep.kernels.vocabulary import real, uint32

# (counter, key, output) of philox4x32 with 10 rounds, from kat_vectors of Random123 (Salmon et al., 2011).
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def philox_in_integers(counter, key):
    """The ten rounds in Python's own integers, after the paper."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 2**32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return tuple(c)


def _words(*values):
    """Philox as a formula on reals: all 32-bit numbers are exact in float64."""
    return tuple(real(word, values[0]) for word in philox4x32(*(uint32(v) for v in values)))


PHILOX = Formula("philox_words", _words, ("c0", "c1", "c2", "c3", "k0", "k1"), ("each",) * 6, ("each",) * 4)

HOSTS = {"base": lambda: Backend(np), "numpy": lambda: backend("numpy"), "numba": lambda: backend("numba")}


def through(name, vectors):
    """Philox of many (counter, key) pairs as one map on a backend."""
    columns = np.array([(*c, *k) for c, k in vectors], np.float64).T
    arguments = [np.ascontiguousarray(column).reshape(1, -1) for column in columns]
    out = [np.empty((1, len(vectors))) for _ in range(4)]
    HOSTS[name]().map(PHILOX, tuple(out), *arguments)
    return [tuple(int(o[0, i]) for o in out) for i in range(len(vectors))]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_plain_formula_gives_the_published_vectors(counter, key, expected):
    assert tuple(int(w) for w in philox4x32(*(np.uint32(v) for v in (*counter, *key)))) == expected
    assert tuple(int(w) for w in philox4x32(*counter, *key)) == expected
    assert philox_in_integers(counter, key) == expected


@pytest.mark.parametrize("name", HOSTS)
def test_every_host_target_gives_the_published_vectors(name):
    assert through(name, [(c, k) for c, k, _ in KNOWN_ANSWERS]) == [expected for _, _, expected in KNOWN_ANSWERS]


@pytest.mark.parametrize("name", HOSTS)
def test_random_counters_agree_with_integers(name):
    rng = np.random.default_rng(0)
    vectors = [(tuple(map(int, v[:4])), tuple(map(int, v[4:]))) for v in rng.integers(0, 2**32, (300, 6))]
    assert through(name, vectors) == [philox_in_integers(c, k) for c, k in vectors]


@pytest.mark.parametrize("name", HOSTS)
def test_first_word_of_every_host_is_the_published_one(name):
    """With everything zero, column j of a row of four is word j of the first vector."""
    host = HOSTS[name]()
    bits = host.random_bits(1, 4, Random(host.random_state(0), 0))
    assert bits.dtype == np.uint32
    assert tuple(map(int, bits[0])) == KNOWN_ANSWERS[0][2]


def layout(rows, width, key, step, first_row, stream):
    """Column j of row r is word j // q of the block (j mod q, r, stream, step), q = ceil(width / 4)."""
    quarter = -(-width // 4)
    return [
        [philox_in_integers((j % quarter, (first_row + r) % 2**32, stream, step), key)[j // quarter] for j in range(width)]
        for r in range(rows)
    ]


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 9, 100])
def test_layout_of_the_bits(name, rows, width):
    host = HOSTS[name]()
    for first_row, step, stream in ((0, 0, 0), (5, 3, 0x2000_0001), (2**32 - 2, 2**32 - 1, 2**32 - 1)):
        random = Random(host.random_state(0x0123456789ABCDEF, step, first_row), stream)
        bits = host.random_bits(rows, width, random)
        assert bits.tolist() == layout(rows, width, (0x89ABCDEF, 0x01234567), step, first_row, stream)


@pytest.mark.parametrize("name", HOSTS)
def test_rows_of_a_part_are_those_of_the_whole(name):
    """What lets several executors draw the mask of their own rows."""
    host = HOSTS[name]()
    whole = host.random_bits(6, 11, Random(host.random_state(9, 4), 7))
    part = host.random_bits(2, 11, Random(host.random_state(9, 4, first_row=3), 7))
    np.testing.assert_array_equal(part, whole[3:5])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 4),
    st.integers(0, 9),
)  # fmt: skip
def test_all_hosts_agree_for_any_seed(seed, step, stream, rows, width):
    drawn = []
    for make in HOSTS.values():
        host = make()
        drawn.append(host.random_bits(rows, width, Random(host.random_state(seed, step), stream)))
    assert drawn[0].shape == (rows, width)
    for other in drawn[1:]:
        np.testing.assert_array_equal(other, drawn[0])


@pytest.mark.parametrize("name", HOSTS)
def test_seed_step_stream_and_row_each_change_all_bits(name):
    host = HOSTS[name]()

    def draw(seed=1, step=1, stream=1, first_row=0):
        return host.random_bits(1, 64, Random(host.random_state(seed, step, first_row), stream))

    plain = draw()
    for other in (draw(seed=2), draw(seed=1 + 2**32), draw(step=2), draw(stream=2), draw(first_row=1)):
        assert (plain == other).mean() < 0.02


@pytest.mark.parametrize("name", HOSTS)
def test_set_step_moves_the_state(name):
    host = HOSTS[name]()
    state = host.random_state(77, 0)
    host.set_step(state, 5)
    np.testing.assert_array_equal(
        host.random_bits(2, 6, Random(state, 3)), host.random_bits(2, 6, Random(host.random_state(77, 5), 3))
    )


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_bits_across_block_borders(name):
    """The NumPy target works in blocks of 16384 elements; their borders must not show."""
    host = HOSTS[name]()
    for rows, width in ((3, 65_540), (2_100, 8), (16_385, 1)):
        bits = host.random_bits(rows, width, Random(host.random_state(5, 2), 9))
        quarter = -(-width // 4)
        rng = np.random.default_rng(1)
        places = [(0, 0), (rows - 1, width - 1)] + [(int(rng.integers(rows)), int(rng.integers(width))) for _ in range(200)]
        for r, j in places:
            assert int(bits[r, j]) == philox_in_integers((j % quarter, r, 9, 2), (5, 0))[j // quarter]
