"""`fusedstep compare`: two backends in lockstep, and what happens when they drift apart."""

from __future__ import annotations

import numpy as np
import pytest

from fusedstep.backends import selection
from fusedstep.backends.numpy.backend import NumpyBackend
from fusedstep.framework.cli.lockstep import MASKS, SHUFFLES, TOLERANCES, WEIGHTS, Lockstep, relative


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_numpy_and_numba_agree(call, precision):
    answer = call("compare", "numpy", "numba", "--precision", precision)
    assert answer.code == 0, answer
    for what in (WEIGHTS, MASKS, SHUFFLES):
        assert f"{what}: bit-identical" in answer.flat
    assert "passed" in answer.flat
    rows = [line.split() for line in answer.out.splitlines()]
    steps = [row[0] for row in rows if len(row) == 6 and row[0].isdigit()]
    assert steps == [str(k) for k in range(1, 51)], "one line a step"


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_losses_fall_and_agree_for_every_seed(precision, seed):
    run = Lockstep("numpy", "numba", 50, precision, seed)
    rows = list(run)
    assert run.passed
    assert run.worst_loss <= TOLERANCES[precision]
    assert rows[-1].losses[0] < 0.7 * rows[0].losses[0], "a network that does not learn shows little"
    assert run.random_layers == 3


def test_a_backend_agrees_with_itself_exactly():
    run = Lockstep("numpy", "numpy", 9, "float32", 0)
    list(run)
    assert (run.worst_loss, run.worst_parameters) == (0.0, 0.0)


class Wrong(NumpyBackend):
    """A backend with a choice of faults."""

    name = "wrong"
    fault = ""

    def random_bits(self, rows, width, random):
        bits = super().random_bits(rows, width, random)
        return bits ^ np.uint32(1) if self.fault == "bits" and random.stream == 0x2000_0001 else bits

    def permutation(self, rows, random):
        order = super().permutation(rows, random)
        return order[::-1].copy() if self.fault == "shuffle" else order

    def copy(self, source, out):
        super().copy(source, out)
        if self.fault == "weights" and out.ndim == 2:
            out[0, 0] = np.nextafter(out[0, 0], 9)

    def total(self, x):
        return super().total(x) * (1.0001 if self.fault == "kernel" else 1.0)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("bits", f"{MASKS}: different"),
        ("shuffle", f"{SHUFFLES}: different"),
        ("weights", f"{WEIGHTS}: different"),
        ("kernel", "failed: largest difference of the loss"),
    ],
)
def test_faults_are_found(call, monkeypatch, fault, words):
    monkeypatch.setattr(Wrong, "fault", fault)
    monkeypatch.setattr(selection, "_registered", lambda: {"wrong": None})
    real = selection.backend_class
    monkeypatch.setattr(selection, "backend_class", lambda name: Wrong if name == "wrong" else real(name))
    monkeypatch.setattr(selection, "why_not", lambda _: None)
    monkeypatch.setattr(selection, "_instance", lambda kind: kind())
    answer = call("compare", "numpy", "wrong", "--steps", 12)
    assert answer.code == 1, answer
    assert words in answer.flat
    assert "failed" in answer.flat


def test_bad_arguments(refused):
    assert "--steps" in refused("compare", "numpy", "numba", "--steps", 0)
    assert "--precision" in refused("compare", "numpy", "numba", "--precision", "half")
    assert "did you mean 'numpy'" in refused("compare", "numpi", "numba")
    assert "seed" in refused("compare", "numpy", "numba", "--seed", -1)


def test_relative():
    assert relative([2.0, -4.0], [2.0, -3.0]) == 0.25
    assert relative([0.0], [0.0]) == 0.0
    assert relative([0.0], [1.0]) == np.inf
    assert relative([1.0], [np.nan]) == np.inf
