"""Two threads that train two models on one device: no launch of one lands in the graph of the other.

The simulator captures a stream as a device does: everything that any thread hands to it, until the capture ends.
"""

import threading
from contextlib import nullcontext

import numpy as np
import pytest

numba_config = pytest.importorskip("numba.core.config")
if not numba_config.ENABLE_CUDASIM:
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported: run this folder alone", allow_module_level=True)

import fusedstep as fs  # noqa: E402

STEPS, LONG = 5, 60.0
SHORT = 0.3
"""Seconds in which a thread that is not kept out does something."""
rng = np.random.default_rng(8)
DATA = {
    "first": (rng.standard_normal((6, 4)).astype("f4"), rng.integers(0, 3, 6)),
    "second": (rng.standard_normal((5, 7)).astype("f4"), rng.integers(0, 2, 5)),
}


def new_step(name):
    layers = [fs.Linear(4, 3)] if name == "first" else [fs.Linear(7, 5), fs.LayerNorm(5), fs.ReLU(), fs.Linear(5, 2)]
    precision = "tf32" if name == "second" else "float32"
    loss = fs.SoftmaxCrossEntropy()
    return fs.TrainStep(fs.Sequential(*layers), loss, fs.Adam(1e-2), seed=3, backend="cuda", precision=precision)


def graph_of(step):
    (graph,) = [plan.graph for plan in step.executor._plans.values() if plan.graph is not None]
    return graph


def outcome(step):
    return len(graph_of(step).calls), step.model.arena.values.tobytes()


def alone(name):
    step = new_step(name)
    for _ in range(STEPS):
        step(*DATA[name])
    return outcome(step)


def beside_each_other(cuda, monkeypatch):
    """Both trained in a thread each; the second one begins while the first one captures, unless it is kept out.

    Returns: the outcomes, and what was raised in the threads.
    """
    steps = {name: new_step(name) for name in DATA}
    capturing, launched = threading.Event(), threading.Event()
    wrong = []
    capture, launch = type(cuda).capture, type(cuda).launch

    def slow_capture(self, work):
        def with_company():
            if threading.current_thread().name == "first":
                capturing.set()
                launched.wait(SHORT)
            work()

        return capture(self, with_company)

    def told_launch(self, *arguments):
        launch(self, *arguments)
        if threading.current_thread().name == "second":
            launched.set()

    def train():
        name = threading.current_thread().name
        try:
            if name == "second":
                assert capturing.wait(LONG)
            for _ in range(STEPS):
                steps[name](*DATA[name])
        except Exception as error:
            wrong.append(error)

    monkeypatch.setattr(type(cuda), "capture", slow_capture)
    monkeypatch.setattr(type(cuda), "launch", told_launch)
    threads = [threading.Thread(target=train, name=name) for name in DATA]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    return steps, wrong


def test_no_launch_of_one_is_in_the_graph_of_the_other(cuda, monkeypatch):
    wanted = {name: alone(name) for name in DATA}
    steps, wrong = beside_each_other(cuda, monkeypatch)
    assert not wrong
    assert {name: outcome(step) for name, step in steps.items()} == wanted


def test_without_the_lock_it_is(cuda, monkeypatch):
    wanted = alone("first")
    monkeypatch.setattr(type(cuda), "exclusive", lambda self: nullcontext())
    steps, wrong = beside_each_other(cuda, monkeypatch)
    assert wrong or outcome(steps["first"]) != wanted


def test_each_thread_has_its_own_precision(cuda):
    seen, wanted = {}, cuda._dense.wanted

    def look():
        seen["other"] = wanted.tf32, wanted.deterministic

    with cuda.products("tf32", deterministic=True):
        seen["own"] = wanted.tf32, wanted.deterministic
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(LONG)
    assert seen == {"own": (True, True), "other": (False, False)}
    assert (wanted.tf32, wanted.deterministic) == (False, False)


def test_many_threads_get_the_bits_of_one(cuda):
    """Steps, predictions and evaluations side by side, as fast as they come."""
    wanted = {name: alone(name)[1] for name in DATA}
    steps = {(name, k): new_step(name) for name in DATA for k in range(2)}
    wrong = []

    def train(key):
        try:
            for _ in range(STEPS):
                steps[key](*DATA[key[0]])
                steps[key].model.predict(DATA[key[0]][0])
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=train, args=(key,)) for key in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert not wrong
    assert all(step.model.arena.values.tobytes() == wanted[name] for (name, _), step in steps.items())
