"""Between hosts, the sum of a chunk of the gradient begins as soon as the backward pass has finished it, and not before."""

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.backends.communicators import Communicator
from fusedstep.backends.executors import gradient_sums


class OneOfTwoHosts(Communicator):
    """The only process there is, on one host of two; notes the gradient when each sum begins."""

    name = "one of two hosts"
    hosts = ("here", "there")

    def __init__(self):
        super().__init__()
        self.step, self.seen = None, []

    def start_sum(self, array):
        if array.dtype == np.float32:
            self.seen.append((array.size, self.step.gradient.copy()))
        return lambda: None

    def sum_numbers(self, numbers):
        return list(numbers)

    def gather(self, value):
        return [value]


@pytest.fixture
def step(monkeypatch):
    monkeypatch.setattr(gradient_sums, "CHUNK", 4 * 16 * 32)
    together = OneOfTwoHosts()
    model = fs.Sequential(fs.Linear(8, 32), fs.LayerNorm(32), fs.ReLU(), fs.Linear(32, 32), fs.ReLU(), fs.Linear(32, 4))
    together.step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.SGD(0.1), backend="numba", parallel=together)
    return together.step


def test_chunks_are_weights_from_the_last_layer_on_and_then_what_does_not_decay(step):
    places = {parameter.shape: place for parameter, place in step.ranges.items() if parameter.decays}
    behind = max(stop for _, stop in places.values())
    found = gradient_sums.chunks(step)
    (_, second), (first, _) = places[32, 32], places[8, 32]
    assert [low for low, _ in found] == [places[32, 32][0], first, found[-1][0]]
    assert found[0][1] == found[-1][0] >= behind >= second
    assert found[1] == (0, found[0][0])
    assert found[-1][1] == step.gradient.size
    others = [place for parameter, place in step.ranges.items() if not parameter.decays]
    assert len(others) == 5
    assert all(found[-1][0] <= low for low, _ in others)


def test_a_sum_begins_when_its_chunk_is_complete_and_that_of_the_first_layer_is_not(step):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 8)).astype(np.float32), rng.integers(0, 4, 64)
    step(x, y)
    step.communicator.seen.clear()
    for low, high in step.ranges.values():
        step.gradient[low:high] = np.nan
    step(x, y)
    final, found = step.gradient, gradient_sums.chunks(step)
    assert [size for size, _ in step.communicator.seen] == [high - low for low, high in found]
    for (low, high), (_, then) in zip(found, step.communicator.seen, strict=True):
        np.testing.assert_array_equal(then[low:high], final[low:high])
    first_layer = slice(*next(place for parameter, place in step.ranges.items() if parameter.shape == (8, 32)))
    assert np.isnan(step.communicator.seen[0][1][first_layer]).all()
    assert np.isfinite(final[first_layer]).all()


def test_small_gradients_are_summed_at_once(step, monkeypatch):
    monkeypatch.setattr(gradient_sums, "CHUNK", 1 << 20)
    assert gradient_sums.chunks(step) == [(0, step.gradient.size)]
