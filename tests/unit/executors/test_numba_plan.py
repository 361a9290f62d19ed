"""A replayed step gives the gradient that the layers' own code gives, whichever way the weight gradients are made."""

import time

import numpy as np
import pytest
from networks import ZOO, InterpretedStep, batch_for, kind_of_plan, plans, step_for, take
from pairs import pairs_of

import fusedstep as fs
from fusedstep.backends import conformance
from fusedstep.backends.numba import splitting
from fusedstep.framework.layers import LAYERS
from fusedstep.framework.losses import LOSSES

ROWS = (1, 7, 16, 33, 130)
THREADS = (1, 2, 3)


def test_the_networks_have_every_layer_and_loss():
    layers, losses = set(), set()
    for make, loss, _ in ZOO.values():
        layers |= {type(layer).__name__ for layer in fs.Sequential(*make()).walk()}
        losses.add(type(loss()).__name__)
    assert layers >= set(LAYERS)
    assert losses == set(LOSSES)


def agree(got, wanted, dtype, what):
    """Losses and gradients, scaled so that the tolerances, which are for numbers of about 1, fit."""
    size = max(1.0, float(np.abs(wanted[1]).max()))
    conformance.close(got[1] / size, wanted[1] / size, dtype, "sum", f"gradient, {what}")
    conformance.close(got[0], wanted[0], dtype, "loss", f"loss, {what}")


@pytest.mark.parametrize(("name", "rows", "threads", "dtype"), pairs_of(ZOO, ROWS, THREADS, ["float32", "float64"]))
def test_played_equals_numpy_and_interpreted(name, rows, threads, dtype):
    x, y = batch_for(name, rows, dtype)
    reference = take(step_for(name, dtype, "numpy", InterpretedStep), x, y)
    assert np.abs(reference[1]).max() > 0.0
    fs.set_num_threads(threads)
    own, interpreted = step_for(name, dtype), step_for(name, dtype, kind=InterpretedStep)
    got = take(own, x, y)
    assert kind_of_plan(own) == "RowsPlan"
    assert len(plans(own)[0].tapes) == max(1, min(threads, rows // 8))
    agree(got, reference, dtype, "against numpy")
    other = take(interpreted, x, y)
    assert kind_of_plan(interpreted) == "InterpretedPlan"
    agree(got, other, dtype, "against the interpreter")
    again = take(own, x, y)
    assert again[0] == got[0]
    assert again[1].tobytes() == got[1].tobytes()


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_the_parts_of_a_profile_take_about_as_long_as_a_step(backend):
    step = step_for("wide", "float32", backend)
    batch = batch_for("wide", 500)
    parts = step.profile(*batch, repeats=5)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        float(step(*batch))
        times.append(time.perf_counter() - began)
    assert all(part.seconds >= 0.0 for part in parts)
    assert min(times) / 20.0 < sum(part.seconds for part in parts) < 20.0 * max(times)


@pytest.mark.parametrize("name", ZOO)
def test_ten_steps_follow_numpy(name):
    fs.set_num_threads(2)
    batches = [batch_for(name, 16 + 7 * (k % 3), "float64", k) for k in range(10)]
    optimizer = fs.Adam(1e-2, clip_norm=0.5)
    losses = [
        [float(step(x, y)) for x, y in batches]
        for step in (
            step_for(name, "float64", "numba", optimizer=optimizer),
            step_for(name, "float64", "numpy", InterpretedStep, optimizer),
        )
    ]
    conformance.close(losses[0], losses[1], "float64", "loss")


def test_a_step_with_other_numbers_has_other_dropout():
    step = step_for("relu, dropout, labels")
    x, y = batch_for("relu, dropout, labels", 33)
    first, second = (take(step, x, y, number)[1] for number in (1, 2))
    assert not np.array_equal(first, second)
    assert np.array_equal(take(step, x, y, 1)[1], first)


# The cost model

def test_the_cost_model():
    splits = splitting.splits_weights
    assert not splits(784, 512, 128, 1)  # nobody to share with
    assert not splits(6, 4096, 8, 2)  # too few rows of the gradient to hand out
    assert not splits(31, 4096, 8, 2)
    assert splits(32, 4096, 8, 2)
    assert splits(784, 512, 32, 2)  # wide, few rows: a second copy of the gradient costs more
    assert splits(4096, 4096, 128, 8)
    assert not splits(64, 64, 10_000, 2)  # a huge batch: reading it again costs more
    assert not splits(784, 512, 60_000, 2)


def test_the_cost_model_changes_its_mind_once_as_batches_grow():
    for inputs, outputs in ((64, 64), (784, 512), (512, 10)):
        for shards in (2, 3, 8):
            answers = [splitting.splits_weights(inputs, outputs, rows, shards) for rows in range(1, 3000, 7)]
            assert answers == sorted(answers, reverse=True)


def stages(step):
    """Which parts of a step its program has."""
    return {(label.operation, label.stage) for label in plans(step)[0].program.labels}


@pytest.mark.parametrize(
    "name", ["wide", "tied, wide", "tied", "one layer three times", "maxout, prelu, hinge", "wide convolution"]
)
@pytest.mark.parametrize("rows", [33, 130])
def test_both_choices_give_the_same_gradient(name, rows, dtype, monkeypatch):
    x, y = batch_for(name, rows, dtype)
    reference = take(step_for(name, dtype, "numpy", InterpretedStep), x, y)
    for threads in (2, 3):
        fs.set_num_threads(threads)
        products = []
        for choice in (True, False):
            monkeypatch.setattr(splitting, "splits_weights", lambda *_, choice=choice: choice)
            step = step_for(name, dtype)
            agree(take(step, x, y), reference, dtype, f"split: {choice}, {threads} threads")
            weights = {p for p in step.ranges if len(p.shape) == 2}
            (plan,) = plans(step)
            assert weights.isdisjoint(plan.summed) == choice
            products.append(sum(label.operation == "matmul" for label in plan.program.labels))
        assert products[0] != products[1] or name in ("tied", "one layer three times", "maxout, prelu, hinge")


def test_a_split_gradient_is_cut_where_that_is_worth_it(monkeypatch):
    """96 rows of W in pieces of at least 16; one piece where there are fewer than 32."""
    monkeypatch.setattr(splitting, "splits_weights", lambda *_: True)
    fs.set_num_threads(3)
    step = step_for("wide")
    take(step, *batch_for("wide", 33))
    program = plans(step)[0].program
    pieces = {}
    for label in program.labels:
        if label.operation == "matmul" and label.stage == "backward":
            pieces.setdefault(label.place, []).append(label.flop)
    # Linear(6, 64): dW in one piece, no dX; Linear(64, 96): 3 pieces and 3 dX; Linear(96, 2): likewise.
    assert sorted(map(len, pieces.values())) == [1, 6, 6]
    total = 2 * 33 * (6 * 64 + 2 * 64 * 96 + 2 * 96 * 2)
    assert sum(map(sum, pieces.values())) == total
