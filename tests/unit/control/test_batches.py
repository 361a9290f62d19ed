"""C1: batch, single-sample and minibatch modes; batches that are shuffled each epoch, or made once and used again."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs


class _Batches(fs.Callback):
    """The batches of every epoch, as tuples of row numbers (which are the values of the first column)."""

    def __init__(self, step):
        self.epochs = []
        run = step.run

        def spy(inputs, targets):
            self.epochs[-1].append(tuple(np.asarray(inputs)[:, 0].astype(int).tolist()))
            return run(inputs, targets)

        step.run = spy

    def on_fit_begin(self, trainer):
        self.epochs.append([])

    def on_epoch_end(self, trainer, row):
        self.epochs.append([])

    def on_fit_end(self, trainer):
        self.epochs.pop()


@pytest.fixture
def numbered(data):
    x, y = data
    x[:, 0] = np.arange(len(x))
    return x, y


def _batches(step, numbered, shuffle, fits=(3,), batch_size=64):
    seen = _Batches(step)
    trainer = fs.Trainer(step, [seen], shuffle=shuffle)
    for epochs in fits:
        trainer.fit(*numbered, epochs=epochs, batch_size=batch_size)
    return seen.epochs


@pytest.mark.parametrize(("batch_size", "sizes"), [(None, [300]), (1, [1] * 300), (128, [128, 128, 44]), (999, [300])])
def test_c1_batch_single_sample_and_minibatch(backend, batch_size, sizes, new_step, numbered):
    (epoch,) = _batches(new_step(backend, fs.SGD(1e-6)), numbered, "each_epoch", (1,), batch_size)
    assert [len(batch) for batch in epoch] == sizes
    assert sorted(row for batch in epoch for row in batch) == list(range(300))


def test_c1_batches_are_shuffled_each_epoch(backend, new_step, numbered):
    first, second, third = (sum(e, ()) for e in _batches(new_step(backend, fs.SGD(1e-6)), numbered, "each_epoch"))
    assert sorted(first) == sorted(second) == sorted(third) == list(range(300))
    assert len({first, second, third, tuple(range(300))}) == 4


def test_c1_batches_made_once_are_used_in_every_epoch_and_every_fit(backend, new_step, numbered):
    epochs = _batches(new_step(backend, fs.SGD(1e-6)), numbered, "once", (2, 2))
    assert len(epochs) == 4
    assert all(epoch == epochs[0] for epoch in epochs)
    assert sorted(sum(epochs[0], ())) == list(range(300)) != list(sum(epochs[0], ()))


def test_c1_the_seed_decides_the_batches(new_step, numbered):
    orders = [_batches(new_step(seed=seed, optimizer=fs.SGD(1e-6)), numbered, "once", (1,)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_c1_batch_mode_is_gradient_descent_on_the_whole_set(backend, new_step, data):
    by_hand, trained = new_step(backend), new_step(backend)
    for _ in range(3):
        by_hand(*data)
    fs.Trainer(trained, shuffle="never").fit(*data, epochs=3, batch_size=None)
    np.testing.assert_array_equal(by_hand.model.arena.values, trained.model.arena.values)
