"""Bits that do not depend on the number of threads, on another run, or on company."""

import threading
from itertools import cycle

import numpy as np
import pytest
from networks import COLUMNS, ZOO, InterpretedStep, batch_for, kind_of_plan, plans, step_for, train

import fusedstep as fs

ADAM = fs.Adam(1e-2, weight_decay=0.01, clip_norm=1.0)
ODD = (33, 130, 131, 257, 40)


def minibatches(name, rows=ODD, dtype="float32"):
    return [batch_for(name, count, dtype, k) for k, count in enumerate(rows)]


# One network for each number of threads; the other numbers with --exhaustive.
IN_TURN = [pytest.param(name, (1, count), id=f"{name}-{count}") for name, count in zip(ZOO, cycle((2, 3, 5)), strict=False)]
ALL_COUNTS = [pytest.param(name, (1, 2, 3, 5), id=name, marks=pytest.mark.exhaustive) for name in ZOO]


@pytest.mark.parametrize(("name", "counts"), [*IN_TURN, *ALL_COUNTS])
def test_a_deterministic_step_has_the_same_bits_with_any_number_of_threads(name, counts):
    results = []
    for threads in counts:
        fs.set_num_threads(threads)
        step = step_for(name, optimizer=ADAM, deterministic=True)
        results.append(train(step, minibatches(name)))
        assert kind_of_plan(step) == "RowsPlan"
        assert all(len(plan.tapes) > 1 for plan in plans(step))
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("name", ["wide", "noise, residual"])
def test_so_has_an_interpreted_one(name):
    results = []
    for threads in (1, 2, 3, 5):
        fs.set_num_threads(threads)
        step = step_for(name, optimizer=ADAM, deterministic=True, kind=InterpretedStep)
        results.append(train(step, minibatches(name)))
        assert all(len(plan.shards) > 1 for plan in plans(step))
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_large_gradient_is_summed_in_chunks(dtype):
    """More than one chunk of squares, and an update on several threads."""
    results = []
    generator = np.random.default_rng(1)
    batches = [(generator.standard_normal((rows, 50)), generator.integers(0, 4, rows)) for rows in (67, 129, 67)]
    for threads in (1, 2, 3, 5):
        fs.set_num_threads(threads)
        model = fs.mlp([50, 700, 130, 4], dropout=0.2, layer_norm=True).initialize(1, "numba", dtype)
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), ADAM, seed=1, deterministic=True)
        results.append(train(step, batches))
    assert plans(step)[0].squares.size > 1
    assert all(result == results[0] for result in results)


def test_the_number_of_threads_may_change_on_the_way():
    """Without `deterministic` the bits may differ, but no more than by rounding."""
    batches = minibatches("wide") + minibatches("wide")
    fs.set_num_threads(1)
    alone = step_for("wide", deterministic=True)
    wanted = train(alone, batches)
    step, free = step_for("wide", deterministic=True), step_for("wide")
    losses = []
    for k, (x, y) in enumerate(batches):
        fs.set_num_threads(1 + k % 4)
        losses.append(float(step(x, y)))
        free(x, y)
    assert (losses, step.model.arena.values.tobytes()) == wanted
    np.testing.assert_allclose(free.model.arena.values, alone.model.arena.values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", ["relu, dropout, labels", "noise, residual", "tied, wide", "maxout, prelu, hinge"])
def test_the_same_run_twice_has_the_same_bits(name, threads):
    fs.set_num_threads(threads)
    assert train(step_for(name, optimizer=ADAM), minibatches(name)) == train(step_for(name, optimizer=ADAM), minibatches(name))


def test_after_another_number_of_threads_the_bits_are_those_of_a_new_step():
    """A plan that was made for other threads must not be taken again where that changes bits."""
    batches = minibatches("wide", (16, 16, 16))
    fs.set_num_threads(5)
    fresh = train(step_for("wide"), batches)
    step = step_for("wide")
    start = step.model.arena.values.copy()
    fs.set_num_threads(2)
    train(step, batches)
    step.model.arena.values[...] = start
    step.state.t = 0
    fs.set_num_threads(5)
    assert train(step, batches) == fresh


@pytest.mark.parametrize("names", [("wide", "wide"), ("wide", "noise, residual"), ("relu, dropout, labels", "tied, wide")])
def test_two_at_once_have_the_bits_of_each_alone(names):
    fs.set_num_threads(2)
    alone = {name: train(step_for(name, optimizer=ADAM), minibatches(name, ODD * 12)) for name in names}
    found, ready = {}, threading.Barrier(len(names))

    def work(k):
        step, batches = step_for(names[k], optimizer=ADAM), minibatches(names[k], ODD * 12)
        ready.wait()
        found[k] = train(step, batches)

    workers = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(len(names))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    assert {k: found.get(k) for k in range(len(names))} == dict(enumerate(alone[name] for name in names))


def test_one_step_in_another_thread_than_it_was_made_in():
    fs.set_num_threads(2)
    wanted = train(step_for("wide"), minibatches("wide") * 2)
    step, found = step_for("wide"), []
    first = train(step, minibatches("wide"))
    worker = threading.Thread(target=lambda: found.append(train(step, minibatches("wide"))), daemon=True)
    worker.start()
    worker.join(timeout=30)
    assert (first[0] + found[0][0], found[0][1]) == wanted


def test_rows_do_not_depend_on_shards():
    """Dropout and noise belong to the row of the minibatch, whoever computes it."""
    x, y = np.ones((48, COLUMNS), "f4"), np.zeros((48, COLUMNS), "f4")
    losses = []
    for threads in (1, 2, 3, 5):
        fs.set_num_threads(threads)
        model = fs.Sequential(fs.Dropout(0.5), fs.GaussianNoise(0.1), fs.LayerNorm(COLUMNS)).initialize(0, "numba", "float64")
        losses.append(float(fs.TrainStep(model, fs.MSE(), fs.SGD(1e-30), seed=0)(x, y)))
    np.testing.assert_allclose(losses, losses[0], rtol=1e-13)
