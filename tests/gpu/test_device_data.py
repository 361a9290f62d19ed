"""Data on a real device: pinned slots on a stream of their own, what fits and what is streamed, real lack of memory."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.sources.feeds import ResidentFeed, StreamedFeed, feed_for

pytestmark = pytest.mark.gpu

ROWS, COLUMNS = 5_003, 64


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0.5)


def _step(backend, micro_batch=None, width=128, precision="float32"):
    model = fs.Sequential(fs.Linear(COLUMNS, width), fs.LayerNorm(width), fs.ReLU(), fs.Dropout(0.3), fs.Linear(width, 3))
    optimizer = fs.AdamW(1e-3, epsilon=1e-4, clip_norm=1.0)
    return fs.TrainStep(model, fs.SoftmaxCrossEntropy(), optimizer, 5, backend, precision, micro_batch=micro_batch)


def _values(step):
    return step.backend.to_numpy(step.model.arena.values)


def test_f5_a_stream_gives_the_minibatches_of_arrays_on_the_device(gpu_backend, data, tmp_path):
    x, y = data
    np.savez(tmp_path / "d.npz", x=x, y=y)
    rows = fs.memory_map(tmp_path / "d.npz"), fs.memory_map(tmp_path / "d.npz", "y")
    steps = [_step(gpu_backend) for _ in range(3)]
    histories = [
        fs.Trainer(steps[0]).fit(x, y, (x[:999], y[:999]), 3, 256),
        fs.Trainer(steps[1]).fit(*rows, (x[:999], y[:999]), 3, 256, data="stream"),
        fs.Trainer(steps[2]).fit(*rows, (x[:999], y[:999]), 3, 256, data="device"),
    ]
    for step, history in zip(steps[1:], histories[1:], strict=True):
        np.testing.assert_allclose(_values(step), _values(steps[0]), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(history["val_loss"], histories[0]["val_loss"], rtol=1e-5)
    host = _step("numpy")
    fs.Trainer(host).fit(x, y, epochs=3, batch_size=256)
    np.testing.assert_allclose(_values(steps[1]), _values(host), rtol=1e-3, atol=1e-4)


def test_f5_no_slot_is_overwritten_while_a_step_still_reads_it(gpu_backend, data):
    cupy = pytest.importorskip("cupy")
    x, y = data
    feed = StreamedFeed(_step(gpu_backend), fs.ArrayRows(x), fs.ArrayRows(y), 128)
    feed.shuffle(1, 0)
    busy = cupy.ones((2048, 2048), cupy.float32)
    taken = []
    for start in range(0, ROWS, 128):
        inputs, _ = next(feed.pieces(start, min(ROWS, start + 128), 128))
        for _ in range(4):  # the device is behind the host, so that what is read below is read late
            busy = busy @ busy * 1e-4
        taken.append(inputs.copy())
    feed.close()
    order = feed._order.numbers(0, ROWS)
    np.testing.assert_array_equal(cupy.concatenate(taken).get(), x[order])


def test_f5_slots_are_pinned(gpu_backend):
    cupy = pytest.importorskip("cupy")
    slot = gpu_backend.slot([((16, 4), "float32")])
    attributes = cupy.cuda.runtime.pointerGetAttributes(slot.host[0].ctypes.data)
    assert attributes.type == 1, "memory of the host that the device knows"
    assert slot._stream.ptr != cupy.cuda.get_current_stream().ptr


def test_f5_what_fits_is_brought_to_the_device_and_the_rest_is_streamed(gpu_backend, data, monkeypatch):
    x, y = data
    step = _step(gpu_backend)
    free = gpu_backend.free_memory()
    assert free > 0
    for source in (x, fs.ArrayRows(x)):
        assert isinstance(feed_for(step, source, y, 64), ResidentFeed)
        assert isinstance(feed_for(step, source, y, 64, "stream"), StreamedFeed)
    monkeypatch.setattr(gpu_backend, "free_memory", lambda: x.nbytes)
    for source in (x, fs.ArrayRows(x)):
        assert isinstance(feed_for(step, source, y, 64), StreamedFeed)
        assert isinstance(feed_for(step, source, y, 64, "device"), ResidentFeed)


def test_an_estimator_trains_the_same_from_the_device_and_from_the_host(gpu_backend, data):
    pytest.importorskip("sklearn", reason="needs scikit-learn: pip install scikit-learn")
    x, y = data
    settings = {"preset": "scikit-learn", "batch_size": 256, "max_iter": 2, "random_state": 0, "backend": gpu_backend}
    found = [
        fs.MLPClassifier((64,), dropout=0.2, device_batches=given, **settings).fit(x, y).predict_proba(x[:50])
        for given in (None, True, False)
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("place", ["auto", "stream"])
def test_f5_micro_batches_give_the_result_of_the_whole(gpu_backend, data, place):
    x, y = data
    whole, cut = _step(gpu_backend, precision="float64"), _step(gpu_backend, 100, precision="float64")
    fs.Trainer(whole).fit(x, y, epochs=2, batch_size=512)
    fs.Trainer(cut).fit(x, y, epochs=2, batch_size=512, data=place)
    np.testing.assert_allclose(_values(cut), _values(whole), rtol=1e-10, atol=1e-11)


def test_f5_a_real_lack_of_memory_makes_pieces_smaller_and_nothing_else(gpu_backend, caplog):
    cupy = pytest.importorskip("cupy")
    rng = np.random.default_rng(1)
    x = rng.standard_normal((32_768, COLUMNS)).astype(np.float32)
    y = rng.integers(0, 3, len(x))
    whole, step = _step(gpu_backend, width=1024), _step(gpu_backend, "auto", width=1024)
    wanted = [float(whole(x, y)) for _ in range(3)]
    whole.executor.forget()
    pool = cupy.get_default_memory_pool()
    gpu_backend.trim_memory()
    pool.set_limit(size=pool.used_bytes() + 96 * 2**20)
    try:
        with caplog.at_level(logging.WARNING, "fusedstep"):
            found = [float(step(x, y)) for _ in range(3)]
    finally:
        pool.set_limit(size=0)
    assert step.micro.largest is not None
    assert any("micro_batch auto" in record.getMessage() for record in caplog.records)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    np.testing.assert_allclose(_values(step), _values(whole), rtol=1e-3, atol=1e-4)


def test_f5_an_interrupt_leaves_no_loader_and_no_copy(gpu_backend, data):
    import threading

    class Interrupt(fs.Callback):
        def on_step_end(self, trainer, done, total):
            if done == 5:
                raise KeyboardInterrupt

    step = _step(gpu_backend)
    with pytest.raises(KeyboardInterrupt):
        fs.Trainer(step, [Interrupt()]).fit(*data, batch_size=128, data="stream")
    assert not [thread for thread in threading.enumerate() if thread.name == "fusedstep loader"]
    fs.Trainer(step).fit(*data, batch_size=128, epochs=1, data="stream")
