"""The contenders do the same work, and whoever cannot take part is left out with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from pairs import pairs_of

from fusedstep.backends import backend
from fusedstep.benchmarks.agreement import losses, objection, reference
from fusedstep.benchmarks.cases import time_case
from fusedstep.benchmarks.contenders import PEERS, base, make_peer, peer_names
from fusedstep.benchmarks.contenders.ours import Ours
from fusedstep.benchmarks.networks import parse
from fusedstep.benchmarks.problem import Problem
from fusedstep.errors import HyperparameterError

NETWORK = parse("12-16-9-4@32")[0]
MODULES = {"torch": "torch", "jax": "jax", "sklearn": "sklearn", "handwritten": "numpy"}


def nothing(what):
    """Told what happens, and does not care."""


@pytest.mark.parametrize(
    ("name", "precision", "variant"), pairs_of(["numba", "numpy", *MODULES], ["float32", "float64"], ["plain", "full"])
)
@pytest.mark.filterwarnings("ignore")
def test_losses_agree(name, precision, variant):
    problem = Problem(NETWORK, variant, precision, threads=2, dropout=0.0)
    if name in MODULES:
        pytest.importorskip(MODULES[name])
        contender = make_peer(name)
        if name == "jax":
            pytest.importorskip("optax")
        elif contender.refuses(problem):
            pytest.skip(str(contender.refuses(problem)))
    else:
        contender = Ours(backend(name))
    prepared = contender.prepare(problem)
    first = losses(prepared)
    wanted = reference(problem)
    tolerance = {"float32": 1e-4, "float64": 1e-6}[precision]
    np.testing.assert_allclose(first, wanted, rtol=tolerance)
    assert len(set(first)) == 3
    assert losses(prepared) == pytest.approx(first, rel=1e-6), "reset goes back to the start"


@pytest.mark.parametrize("name", ["numba", "handwritten", "torch", "jax"])
@pytest.mark.filterwarnings("ignore")
def test_dropout_is_done(name):
    if name in MODULES:
        pytest.importorskip(MODULES[name])
    contender = make_peer(name) if name in PEERS["step"] else Ours(backend(name))
    problem = Problem(NETWORK, "full", threads=2)
    assert losses(contender.prepare(problem))[0] != pytest.approx(reference(problem)[0], rel=1e-4)


def test_the_reference_takes_the_same_numbers():
    """Losses worked out in three lines, for the first minibatch."""
    problem = Problem(NETWORK)
    x, y = problem.minibatches[0]
    for k, (w, b) in enumerate(problem.start):
        x = x @ w + b
        x = np.maximum(x, 0.0) if k < 2 else x
    wanted = np.mean(np.log(np.exp(x).sum(axis=1)) - x[np.arange(32), y])
    assert reference(problem)[0] == pytest.approx(wanted, rel=1e-5)


def test_objection():
    assert objection([1.0, 2.0], [1.0005, 2.0], "float32") is None
    assert "0.9, 2 instead of 1, 2" in objection([0.9, 2.0], [1.0, 2.0], "float32")
    assert objection([1.0005, 2.0], [1.0, 2.0], "float64") is not None
    assert objection([float("nan")], [float("nan")], "float32") is not None


class Lazy(Ours):
    """Leaves a layer's weights where they are."""

    kind = "peer"

    def prepare(self, problem):
        prepared = super().prepare(problem)
        step, model = prepared.step, prepared.notes["step"].model

        def shirk():
            weights = next(iter(model.parameters().values()))
            before = weights.copy()
            loss = step()
            weights[...] = before
            return loss

        prepared.step = shirk
        return prepared


class Broken(Ours):
    """Fails."""

    kind = "peer"

    def prepare(self, problem):
        raise RuntimeError("no compiler\nand a long story")


def test_who_does_other_work_is_not_timed(quick):
    lazy, broken = Lazy(backend("numpy")), Broken(backend("numpy"))
    lazy.name, broken.name = "lazy", "broken"
    case = time_case(Problem(NETWORK, threads=2), [Ours(backend("numpy")), lazy, broken], quick, nothing)
    assert [t.name for t in case.timings] == ["numpy", "GEMMs (BLAS)", "GEMMs (rows)"]
    reasons = {left.name: left.reason for left in case.left_out}
    assert "computes something else: its losses are" in reasons["lazy"]
    assert reasons["broken"] == "failed with RuntimeError: no compiler"


def test_an_error_of_our_own_is_not_hidden(quick):
    broken = Broken(backend("numpy"))
    broken.kind = "ours"
    with pytest.raises(RuntimeError, match="no compiler"):
        time_case(Problem(NETWORK, threads=2), [broken], quick, nothing)


def test_names_of_peers():
    assert peer_names("") == []
    assert peer_names("jax, torch,jax") == ["jax", "torch"]
    assert peer_names("all") == list(PEERS["step"])
    with pytest.raises(HyperparameterError, match=r"expected peers out of torch, .*; got 'pytorch'; did you mean 'torch'"):
        peer_names("pytorch")


@pytest.mark.parametrize("name", PEERS["step"])
def test_a_peer_that_is_not_installed_says_what_to_install(name, monkeypatch):
    def fail(module):
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr(base, "import_module", fail)
    missing = make_peer(name).missing()
    assert "cannot be imported (No module named" in missing.reason
    assert missing.remedy.startswith("pip install ")


def test_sklearn_says_what_it_cannot_do():
    peer = make_peer("sklearn")
    assert "LayerNorm" in peer.refuses(Problem(NETWORK, "full")).reason
    assert "two classes" in peer.refuses(Problem(parse("5-4-2@3")[0])).reason
    assert peer.refuses(Problem(NETWORK)) is None


def test_jax_cannot_change_its_threads():
    assert "threads" in make_peer("jax").refuses(Problem(NETWORK, threads=10_000)).reason
