"""D2, D3 and D4 on a backend of another package, whose library has nothing but what the array API standard promises."""

from __future__ import annotations

import numpy as np
import pytest
from strict_backend import StrictBackend

import fusedstep as fs
from fusedstep.backends.conformance.tolerances import tolerance

pytest.importorskip("array_api_strict")


def test_d2_d3_d4_on_another_array_library():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((90, 2))
    y = (x[:, 0] > x[:, 1]).astype(np.int64)
    found = []
    for run in ("numpy", StrictBackend()):
        inner = fs.Residual(fs.Linear(8, 8), fs.Tanh())
        model = fs.Sequential(fs.Linear(2, 8), fs.ReLU(), inner, fs.Sigmoid(), fs.Dropout(0.3), fs.Linear(8, 2))
        step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend=run, precision="float64")
        statistics, path = fs.LayerStatistics(every=2), fs.ParameterPath(every=1)
        fs.Trainer(step, [statistics, path], evaluate_training=True).fit(x, y, epochs=2, batch_size=30)
        surfaces = [fs.loss_surface(step, None, x, y, path=p, points=3) for p in (None, path)]
        found.append((statistics, fs.unit_report(model, x, batch_rows=40), surfaces))
    (reference, report, surfaces), (statistics, other_report, others) = found
    allowed = tolerance("float64", "parameter")
    for quantity in ("activation_mean", "activation_std", "gradient_mean", "gradient_std", "saturated", "dead"):
        assert allowed.allows(statistics[quantity], reference[quantity]).all()
    assert report == other_report
    for one, other in zip(surfaces, others, strict=True):
        assert allowed.allows(other.values, one.values).all()
    assert allowed.allows(np.abs(others[1].path), np.abs(surfaces[1].path)).all()
