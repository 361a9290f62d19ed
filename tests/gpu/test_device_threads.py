"""Threads that train side by side on one device, and a second device."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import fusedstep as fs

pytestmark = pytest.mark.gpu
STEPS = 12
rng = np.random.default_rng(11)
DATA = {
    "tf32": (rng.standard_normal((512, 64)).astype("f4"), rng.integers(0, 10, 512)),
    "float32": (rng.standard_normal((256, 32)).astype("f4"), rng.integers(0, 4, 256)),
}


def new_step(precision):
    x, y = DATA[precision]
    model = fs.mlp([x.shape[1], 128, int(y.max()) + 1], activation="gelu", dropout=0.2)
    loss = fs.SoftmaxCrossEntropy()
    return fs.TrainStep(model, loss, fs.Adam(1e-3), seed=1, backend="cuda", precision=precision, deterministic=True)


def parameters(step):
    return step.backend.to_numpy(step.model.arena.values).tobytes()


def test_two_threads_get_the_bits_of_one_after_the_other():
    wanted = {}
    for precision in DATA:
        step = new_step(precision)
        for _ in range(STEPS):
            step(*DATA[precision])
        wanted[precision] = parameters(step)
    steps, wrong, start = {precision: new_step(precision) for precision in DATA}, [], threading.Barrier(len(DATA))

    def train(precision):
        try:
            start.wait(60)
            for _ in range(STEPS):
                steps[precision](*DATA[precision])
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=train, args=(precision,)) for precision in DATA]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong
    assert not any(step.executor.refusal for step in steps.values())
    assert {precision: parameters(step) for precision, step in steps.items()} == wanted


def test_a_second_device_works_and_its_arrays_are_told_apart():
    import cupy

    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("needs two CUDA devices")
    outcomes = []
    for device in (0, 1):
        with cupy.cuda.Device(device):
            step = new_step("float32")
            losses = [float(step(*DATA["float32"])) for _ in range(4)]
        outcomes.append(losses)
    np.testing.assert_allclose(*outcomes, rtol=1e-5)
    with cupy.cuda.Device(0), pytest.raises(fs.MixedBackends, match="CUDA device 0"):
        step(*DATA["float32"])
