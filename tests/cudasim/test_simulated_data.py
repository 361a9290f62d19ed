"""Streams and micro-batches on the cuda backend under Numba's simulator, beside numpy."""

from __future__ import annotations

import os

import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") != "1":
    pytest.skip("needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported: run this folder alone", allow_module_level=True)

import numpy as np

import fusedstep as fs

rng = np.random.default_rng(2)
X, Y = rng.standard_normal((22, 5)), rng.integers(0, 3, 22)


def _values(backend, micro_batch=None, **options) -> np.ndarray:
    model = fs.Sequential(fs.Linear(5, 6), fs.LayerNorm(6), fs.GELU(), fs.Dropout(0.3), fs.Linear(6, 3))
    loss = fs.SoftmaxCrossEntropy(class_weights=[1.0, 2.0, 0.5])
    optimizer = fs.AdamW(1e-2, epsilon=1e-4, clip_norm=0.5)
    step = fs.TrainStep(model, loss, optimizer, 3, backend, "float64", micro_batch=micro_batch)
    fs.Trainer(step).fit(fs.ArrayRows(X) if options else X, Y, epochs=1, batch_size=8, **options)
    return np.array(step.model.arena.values)


def test_f5_micro_batches_give_the_result_of_the_whole() -> None:
    wanted = _values("numpy")
    np.testing.assert_allclose(_values("cuda"), wanted, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(_values("cuda", 3), wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_f5_streams_give_the_result_of_arrays(micro_batch) -> None:
    np.testing.assert_array_equal(_values("cuda", micro_batch, data="stream"), _values("cuda", micro_batch))
