"""Sample weights in Trainer.fit (G2): launches, streams, micro-batches, histories, checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
from weight_cases import CASES, COUNTS, FRACTIONS, LABELS, NUMBERS, REPEATED, ROWS, X, new_step, parameters

import fusedstep as fs
from fusedstep.backends.numba.several import RepeatedSteps

pytestmark = pytest.mark.row("G2")
BACKENDS = ["numpy", "numba"]
SIZE = 8
COLUMNS = ("loss", "accuracy", "r2", "val_loss", "val_accuracy", "val_r2")


def fit(step, x=X, y=None, w=FRACTIONS, trainer=None, **options):
    """(history, parameters) of a short fit."""
    own = {name: options.pop(name) for name in ("shuffle", "steps_per_launch", "augment") if name in options}
    trainer = trainer or fs.Trainer(step, **own)
    y = LABELS if y is None else y
    history = trainer.fit(x, y, sample_weight=w, **{"epochs": 3, "batch_size": SIZE, **options})
    return history, parameters(step)


def by_hand(step, shuffle, epochs=3):
    """The same as a loop of steps, each with the weights of its rows; the losses of epochs are weighted means."""
    from fusedstep.framework.sources.order import permutation

    losses, means = [], []
    for epoch in range(epochs):
        order = np.arange(ROWS) if shuffle == "never" else permutation(ROWS, step.seed, epoch)
        shares = []
        for start in range(0, ROWS, SIZE):
            rows = order[start : start + SIZE]
            losses.append(float(step(X[rows], LABELS[rows], sample_weight=FRACTIONS[rows])))
            shares.append(FRACTIONS[rows].sum())
        means.append(np.average(losses[-len(shares) :], weights=shares))
    return losses, means, parameters(step)


@pytest.mark.parametrize("shuffle", ["never", "each_epoch"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fit_takes_the_steps_of_a_loop(backend, shuffle):
    losses, means, values = by_hand(new_step("SoftmaxCrossEntropy", backend=backend), shuffle)
    history, found = fit(new_step("SoftmaxCrossEntropy", backend=backend), shuffle=shuffle)
    np.testing.assert_allclose(history.step_losses, losses, rtol=1e-12)
    np.testing.assert_allclose(history["loss"], means, rtol=1e-12)
    np.testing.assert_allclose(found, values, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CASES)
def test_whole_batches_of_repeated_rows(name, backend):
    y = CASES[name][1]
    weighted, repeated = (new_step(name, backend=backend) for _ in range(2))
    given = {"batch_size": None, "shuffle": "never", "epochs": 4}
    history, values = fit(weighted, y=y, w=COUNTS, validation=(X, y, COUNTS), **given)
    wanted, expected = fit(repeated, X[REPEATED], y[REPEATED], None, validation=(X[REPEATED], y[REPEATED]), **given)
    np.testing.assert_allclose(values, expected, rtol=1e-11, atol=1e-12)
    assert set(history.columns) == set(wanted.columns)
    for column in set(COLUMNS) & set(history.columns):
        np.testing.assert_allclose(history[column], wanted[column], rtol=1e-10)


@pytest.mark.parametrize("shuffle", ["never", "once", "each_epoch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["SoftmaxCrossEntropy", "MSE", "Bhattacharyya"])
def test_launches_of_many_steps_give_the_bits_of_single_ones(name, dtype, shuffle, monkeypatch):
    launched, run = [], RepeatedSteps.run

    def noting(several, *given):
        results = run(several, *given)
        launched.append(results.done)
        return results

    monkeypatch.setattr(RepeatedSteps, "run", noting)
    y = CASES[name][1]
    many, one = (
        fit(new_step(name, backend="numba", dtype=dtype), y=y, steps_per_launch=count, shuffle=shuffle) for count in (3, 1)
    )
    assert sum(launched) == 3 * (ROWS // SIZE)
    assert list(many[0].step_losses) == list(one[0].step_losses)
    assert list(many[0]["loss"]) == list(one[0]["loss"])
    assert many[1].tobytes() == one[1].tobytes()


@pytest.mark.parametrize("options", [{}, {"block_rows": 5, "window": 2}], ids=["rows", "blocks"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_streamed_rows_give_the_bits_of_resident_ones(backend, options):
    runs = []
    for data, weights in (("device", FRACTIONS), ("stream", FRACTIONS), ("stream", fs.ArrayRows(FRACTIONS))):
        step = new_step("SoftmaxCrossEntropy", backend=backend)
        x, y = fs.ArrayRows(X, **options), fs.ArrayRows(LABELS, **options)
        validation = fs.ArrayRows(X), fs.ArrayRows(LABELS), weights
        history, values = fit(step, x, y, weights, data=data, validation=validation)
        runs.append((values.tobytes(), [list(history[c]) for c in ("loss", "val_loss", "val_accuracy")]))
    assert runs[0] == runs[1] == runs[2]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("data", ["device", "stream"])
def test_micro_batches_are_scaled_by_their_minibatch(backend, data):
    x, y = fs.ArrayRows(X), fs.ArrayRows(LABELS)
    whole = fit(new_step("SoftmaxCrossEntropy", backend=backend), x, y, data=data)
    cut = fit(new_step("SoftmaxCrossEntropy", backend=backend, micro_batch=3), x, y, data=data)
    np.testing.assert_allclose(cut[0].step_losses, whole[0].step_losses, rtol=1e-12)
    np.testing.assert_allclose(cut[1], whole[1], rtol=1e-11)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_history_is_what_evaluate_says(backend):
    step = new_step("MSE", backend=backend)
    trainer = fs.Trainer(step, evaluate_training=True)
    history, _ = fit(step, y=NUMBERS, trainer=trainer, validation=(X[:9], NUMBERS[:9], FRACTIONS[:9]))
    held_out = step.evaluate(X[:9], NUMBERS[:9], sample_weight=FRACTIONS[:9])
    assert history["val_loss"][-1] == pytest.approx(held_out["loss"], rel=1e-12)
    assert history["val_r2"][-1] == pytest.approx(held_out["r2"], rel=1e-12)
    assert history["r2"][-1] == pytest.approx(step.evaluate(X, NUMBERS, sample_weight=FRACTIONS)["r2"], rel=1e-12)


def test_an_epoch_that_ends_early_counts_what_was_trained():
    step = new_step("SoftmaxCrossEntropy")
    history, _ = fit(step, epochs=None, max_steps=2, shuffle="never")
    shares = [FRACTIONS[:SIZE].sum(), FRACTIONS[SIZE : 2 * SIZE].sum()]
    assert history["loss"][-1] == pytest.approx(np.average(history.step_losses, weights=shares), rel=1e-12)


def test_sums_are_added():
    history, _ = fit(new_step("MSE", "sum"), y=NUMBERS, epochs=1)
    assert history["loss"][0] == pytest.approx(sum(history.step_losses), rel=1e-12)


@pytest.mark.parametrize("data", ["device", "stream"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_minibatch_of_zeros_is_named(backend, data):
    weights = np.where(np.arange(ROWS) // SIZE == 2, 0.0, 1.0)
    step = new_step("SoftmaxCrossEntropy", backend=backend)
    with pytest.raises(fs.SampleWeightError, match=r"got only 0 in a minibatch of the 8 rows 17, 18, 19, 20, 21, … "):
        fit(step, fs.ArrayRows(X), fs.ArrayRows(LABELS), weights, data=data, shuffle="never")
    assert step.steps == (0 if data == "device" else 2)


@pytest.mark.parametrize("data", ["device", "stream"])
def test_wrong_weights_of_validation_data_are_named_before_anything_is_trained(data):
    step, rows = new_step("SoftmaxCrossEntropy"), (fs.ArrayRows(X), fs.ArrayRows(LABELS))
    for weights, error, words in (
        (np.where(np.arange(ROWS) == 3, -1.0, 1.0), fs.SampleWeightError, "^validation: sample_weight: .* in row 4"),
        (np.ones(3), fs.ShapeError, "^validation: sample_weight: .* 37 rows"),
    ):
        with pytest.raises(error, match=words):
            fit(step, *rows, data=data, validation=(*rows, weights))
    with pytest.raises(fs.SampleWeightError, match=r"^sample_weight: .* got nan in row 37"):
        fit(step, w=np.where(np.arange(ROWS) == 36, np.nan, 1.0))
    assert step.steps == 0


def test_rows_are_augmented_but_never_mixed():
    noisy = fit(new_step("SoftmaxCrossEntropy"), augment=[fs.InputNoise(0.1)])
    assert not np.array_equal(noisy[1], fit(new_step("SoftmaxCrossEntropy"))[1])
    with pytest.raises(fs.HyperparameterError, match=r"keep rows separate.*Mixup"):
        fit(new_step("SoftmaxCrossEntropy"), augment=[fs.Mixup()])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_resumed_training_ends_with_the_same_bits_and_wants_the_same_weights(backend, tmp_path):
    checkpoint = {"checkpoint": fs.Checkpoint(tmp_path, every_steps=1)}
    whole = fit(new_step("SoftmaxCrossEntropy", backend=backend))

    class Stop(fs.Callback):
        def on_step_end(self, trainer, done, total):
            if trainer.steps_done == 7:
                trainer.stop("enough", at_once=True)

    first = new_step("SoftmaxCrossEntropy", backend=backend)
    fs.Trainer(first, [Stop()]).fit(X, LABELS, sample_weight=FRACTIONS, max_steps=7, epochs=3, batch_size=SIZE, **checkpoint)
    history, values = fit(new_step("SoftmaxCrossEntropy", backend=backend), resume="auto", **checkpoint)
    assert values.tobytes() == whole[1].tobytes()
    assert list(history["loss"]) == list(whole[0]["loss"])
    for other in (FRACTIONS * 2.0, None):
        with pytest.raises(fs.CheckpointError):
            fit(new_step("SoftmaxCrossEntropy", backend=backend), w=other, resume="auto", **checkpoint)
