"""Forward and backward pass of one layer in training, on 1024 rows of 512 columns, by one thread."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.benchmarks.timing import Prepared
from fusedstep.framework.engine.tape import Tape
from fusedstep.framework.layers.activations import ACTIVATION_LAYERS

ROWS, COLUMNS = 1024, 512

LAYERS = {
    **{kind.__name__: partial(kind.of_width, COLUMNS) for kind in ACTIVATION_LAYERS.values()},
    "Linear": lambda: fs.Linear(COLUMNS, COLUMNS),
    "Softmax": fs.Softmax,
    "Maxout": lambda: fs.Maxout(COLUMNS, COLUMNS, pieces=2),
    "Dropout": lambda: fs.Dropout(0.1),
    "GaussianNoise": lambda: fs.GaussianNoise(0.1),
    "LayerNorm": lambda: fs.LayerNorm(COLUMNS),
    "Residual": lambda: fs.Residual(fs.Linear(COLUMNS, COLUMNS), fs.ReLU()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(measure, backend, name):
    # The linear layer in front gives the layer an input whose gradient is asked for; backward of it is not timed.
    layer = LAYERS[name]()
    model = fs.Sequential(fs.Linear(COLUMNS, COLUMNS), layer).initialize(0, backend)
    rng = np.random.default_rng(0)
    x, dy = (backend.asarray(rng.standard_normal((ROWS, COLUMNS)).astype("float32")) for _ in range(2))
    tape = Tape(model.arena, training=True, random=backend.random_state(0), gradients=model.arena.new())

    def both():
        tape.begin(ROWS)
        layer.forward(x, tape)
        layer.backward(dy, tape)

    measure(Prepared(both, lambda _: backend.synchronize()))
