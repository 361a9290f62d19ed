"""A minibatch in pieces gives the losses, gradients and parameters of the whole: every layer and loss, every executor."""

from __future__ import annotations

import numpy as np
import pytest
from networks import ZOO, InterpretedStep, batch_for, kind_of_plan, plans, step_for
from pairs import pairs_of

import fusedstep as fs
from fusedstep.backends.conformance.tolerances import tolerance
from fusedstep.backends.executors.base import MicroBatch

EXECUTORS = {
    "plain": {"backend": "numpy"},
    "numba plan": {"backend": "numba"},
    "interpreted": {"backend": "numba", "kind": InterpretedStep},
    "deterministic": {"backend": "numba", "deterministic": True},
}
ROWS = 61


@pytest.mark.parametrize(("name", "size", "how"), pairs_of(ZOO, [1, 9, 32, 60], EXECUTORS))
def test_f5_pieces_add_up_to_the_gradient_of_the_whole_in_float64(name, size, how) -> None:
    fs.set_num_threads(3)
    whole, cut = (step_for(name, "float64", **EXECUTORS[how]) for _ in range(2))
    x, y = batch_for(name, ROWS, "float64")
    inputs, targets = whole.prepare(x, y)
    whole.gradient[...] = 0.0
    cut.gradient[...] = 0.0
    wanted, squares = whole.executor.gradient((inputs, targets), 5)
    total = 0.0
    for start in range(0, ROWS, size):
        part = inputs[start : start + size], targets[start : start + size]
        loss, added = cut.executor.gradient(part, 5, MicroBatch(start, ROWS))
        total += loss
    np.testing.assert_allclose(cut.gradient, whole.gradient, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose([total, added], [wanted, squares], rtol=1e-12)
    assert np.any(whole.gradient)


OPTIMIZERS = {
    "adamw, clipped": lambda: fs.AdamW(1e-2, epsilon=1e-4, weight_decay=0.1, clip_norm=0.3),
    "look-ahead": lambda: fs.Nesterov(1e-2, form="look_ahead", clip_value=0.05),
    "lamb": lambda: fs.LAMB(1e-2),
}


TRAINED = ("layer norm, gelu, smoothing", "gelu tanh, class weights", "noise, residual", "relu, dropout, labels")


@pytest.mark.parametrize(
    ("name", "optimizer", "dtype", "how"), pairs_of(TRAINED, OPTIMIZERS, ["float64", "float32"], EXECUTORS)
)
def test_f5_training_in_pieces_is_training(name, optimizer, dtype, how) -> None:
    whole = step_for(name, dtype, optimizer=OPTIMIZERS[optimizer](), **EXECUTORS[how])
    cut = step_for(name, dtype, optimizer=OPTIMIZERS[optimizer](), micro_batch=13, **EXECUTORS[how])
    for number in range(6):
        x, y = batch_for(name, 50, dtype, number)
        wanted, found = float(whole(x, y)), float(cut(x, y))
        assert tolerance(dtype, "loss").allows(found, wanted)
    limit = (1e-12, 1e-12) if dtype == "float64" else tolerance(dtype, "parameter")
    assert cut.steps == 6
    np.testing.assert_allclose(cut.model.arena.values, whole.model.arena.values, rtol=limit[1], atol=limit[0])


def test_f5_the_plans_are_those_that_are_expected() -> None:
    fs.set_num_threads(2)
    kinds = {"numba plan": "RowsPlan", "interpreted": "InterpretedPlan", "plain": "Tape"}
    for name, kind in kinds.items():
        step = step_for("tied, wide", micro_batch=16, **EXECUTORS[name])
        step(*batch_for("tied, wide", 40))
        assert kind_of_plan(step) == kind
        assert [type(plan).__name__ for plan in plans(step)].count(kind) == 2, "one for the pieces, one for the last"
        step.executor.forget()
        assert not step.executor._plans


def test_f5_products_that_are_split_by_their_rows_are_added_up_too() -> None:
    fs.set_num_threads(3)
    steps = [
        fs.TrainStep(fs.Sequential(fs.Linear(6, 96), fs.Tanh(), fs.Linear(96, 2)).initialize(0, "numba", "float64"), fs.MSE(),
                     fs.SGD(0.1), deterministic=True, micro_batch=size)
        for size in (None, 24)
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((96, 6)), rng.standard_normal((96, 2))
    for _ in range(3):
        for step in steps:
            step(x, y)
    np.testing.assert_allclose(steps[1].gradient, steps[0].gradient, rtol=1e-12, atol=1e-13)
