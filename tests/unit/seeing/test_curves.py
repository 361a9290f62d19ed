"""D1: loss and accuracy against iteration and epoch, training and validation, several runs overlaid."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

import fusedstep as fs

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.usefixtures("untouched")

KINDS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


def _lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def _trained(make_step, data, run="numpy", epochs=4, **options):
    x, y = data
    trainer = fs.Trainer(make_step(run), **options)
    return trainer.fit(x[:150], y[:150], validation=(x[150:], y[150:]), epochs=epochs, batch_size=32)


@pytest.mark.parametrize("run", ["numpy", "numba"])
def test_d1_the_history_has_the_loss_of_every_minibatch(run, make_step, data):
    x, y = data
    history = _trained(make_step, data, run, shuffle="never")
    by_hand = make_step(run)
    losses = [float(by_hand(x[s : min(150, s + 32)], y[s : min(150, s + 32)])) for _ in range(4) for s in range(0, 150, 32)]
    assert history.steps_per_epoch == 5
    assert list(history.step_losses) == losses
    first = sum(loss * rows for loss, rows in zip(losses[:5], (32, 32, 32, 32, 22), strict=True)) / 150
    assert history["loss"][0] == pytest.approx(first, rel=1e-12)


@pytest.mark.parametrize("run", ["numpy", "numba"])
def test_d1_training_accuracy_is_that_of_an_evaluation_after_the_epoch(run, make_step, data):
    x, y = data
    step = make_step(run)
    history = fs.Trainer(step, evaluate_training=True).fit(x, y, epochs=2)
    assert history.columns == ["epoch", "loss", "accuracy", "lr", "seconds", "samples_per_second"]
    assert history[-1]["accuracy"] == step.evaluate(x, y)["accuracy"]
    plain = fs.Trainer(make_step(run)).fit(x, y, epochs=2)
    assert plain["loss"] == history["loss"]
    assert "accuracy" not in plain.columns


def test_d1_losses_until_a_training_broke_are_kept(make_step, data):
    x, y = data
    trainer = fs.Trainer(make_step(optimizer=fs.SGD(1e30)))
    with pytest.raises(fs.NonFiniteLossError) as broken:
        trainer.fit(x, y, epochs=3, batch_size=10)
    assert len(trainer.history.step_losses) == broken.value.step - 1 >= 1
    assert np.isfinite(trainer.history.step_losses).all()


def test_d1_the_figure_shows_the_history(make_step, data):
    history = _trained(make_step, data, evaluate_training=True)
    loss, accuracy = history.plot().axes
    drawn = _lines(loss)
    assert set(drawn) == {"single minibatches", "training", "validation"}
    np.testing.assert_array_equal(drawn["training"].get_xydata(), np.stack([history["epoch"], history["loss"]], 1))
    np.testing.assert_array_equal(drawn["validation"].get_ydata(), history["val_loss"])
    np.testing.assert_array_equal(drawn["single minibatches"].get_ydata(), history.step_losses)
    np.testing.assert_allclose(drawn["single minibatches"].get_xdata(), np.arange(1, 21) / 5)
    assert drawn["training"].get_linestyle() != drawn["validation"].get_linestyle()
    assert drawn["training"].get_marker() != drawn["validation"].get_marker()
    np.testing.assert_array_equal(_lines(accuracy)["training"].get_ydata(), history["accuracy"])
    np.testing.assert_array_equal(_lines(accuracy)["validation"].get_ydata(), history["val_accuracy"])
    assert (loss.get_xlabel(), loss.get_ylabel(), accuracy.get_ylabel()) == ("epoch", "loss", "accuracy")
    (above,) = loss.child_axes
    assert above.get_xlabel() == "iteration"
    loss.figure.savefig(io.BytesIO())
    np.testing.assert_allclose(above.get_xlim(), np.array(loss.get_xlim()) * 5)


def test_d1_a_history_of_losses_alone_and_r2(make_step, data):
    x, y = data
    history = fs.Trainer(make_step()).fit(x, y, epochs=1, batch_size=None)
    (loss,) = history.plot().axes
    assert set(_lines(loss)) == {"training"}
    target = y.astype(np.float32)
    step = fs.TrainStep(fs.mlp([6, 8, 1]), fs.MSE(), fs.Adam(1e-2), backend="numpy")
    history = fs.Trainer(step).fit(x, target, validation=(x, target), epochs=3)
    _, metric = history.plot().axes
    assert metric.get_ylabel() == "R²"
    np.testing.assert_array_equal(_lines(metric)["validation"].get_ydata(), history["val_r2"])


def test_d1_neighbouring_minibatches_are_averaged_where_there_are_too_many(make_step, data):
    x, y = data
    history = fs.Trainer(make_step()).fit(x, y, epochs=21, batch_size=2)
    (loss,) = history.plot().axes
    line = _lines(loss)["means of 2 minibatches"]
    np.testing.assert_allclose(line.get_ydata(), np.reshape(history.step_losses, (-1, 2)).mean(axis=1))
    np.testing.assert_allclose(line.get_xdata()[:2], [1.5 / 100, 3.5 / 100])


def test_d1_an_epoch_that_was_cut_short_ends_where_its_steps_do(make_step, data):
    x, y = data
    history = fs.Trainer(make_step()).fit(x, y, epochs=None, max_steps=13, batch_size=20)
    assert len(history.step_losses) == 13
    (loss,) = history.plot().axes
    np.testing.assert_allclose(_lines(loss)["training"].get_xdata(), [1.0, 1.3])
    (loss,) = fs.plot_runs({"a": history}, against="iteration").axes
    np.testing.assert_allclose(_lines(loss)["a, training"].get_xdata(), [10, 13])


@pytest.mark.parametrize("against", ["epoch", "iteration", "seconds"])
def test_d1_several_runs_in_one_figure(against, make_step, data):
    runs = {"first": _trained(make_step, data), "second": _trained(make_step, data, epochs=6)}
    figure = fs.plot_runs(runs, against=against)
    loss, accuracy = figure.axes
    drawn = _lines(loss)
    assert set(drawn) == {f"{run}, {part}" for run in runs for part in ("training", "validation")}
    for name, history in runs.items():
        np.testing.assert_array_equal(drawn[f"{name}, validation"].get_ydata(), history["val_loss"])
        epochs = np.array(history["epoch"])
        wanted = {"epoch": epochs, "iteration": 5 * epochs, "seconds": np.cumsum(history["seconds"])}[against]
        np.testing.assert_allclose(drawn[f"{name}, training"].get_xdata(), wanted)
    assert len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in drawn.values()}) == 4
    assert loss.get_xlabel() == {"seconds": "training time in s"}.get(against, against)
    assert set(_lines(accuracy)) == {"first, validation", "second, validation"}
    assert len(figure.legends) == 1


@pytest.mark.parametrize("ending", sorted(KINDS))
def test_d1_files_are_of_the_kind_that_their_name_says(ending, make_step, data, tmp_path):
    history = _trained(make_step, data)
    path = tmp_path / f"curves{ending}"
    figure = history.plot(path)
    assert path.read_bytes().startswith(KINDS[ending])
    first = path.read_bytes()
    history.plot(str(path))
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert type(figure).__module__ == "matplotlib.figure"


def test_d1_what_cannot_be_drawn_or_written_is_refused(make_step, data, tmp_path):
    history = _trained(make_step, data)
    with pytest.raises(fs.StateError, match="none in this history"):
        fs.History().plot()
    for wrong in ({}, [history], {"a": 3}):
        with pytest.raises(fs.HyperparameterError, match="names and histories"):
            fs.plot_runs(wrong)
    with pytest.raises(fs.StateError, match="'empty'"):
        fs.plot_runs({"empty": fs.History(), "full": history})
    with pytest.raises(fs.HyperparameterError, match="iteration"):
        fs.plot_runs({"a": history}, against="time")
    with pytest.raises(fs.OutputPathError, match=r"\.png, \.svg, \.pdf"):
        history.plot(tmp_path / "curves.jpg")
    with pytest.raises(fs.OutputPathError, match="does not"):
        history.plot(tmp_path / "nowhere" / "curves.png")
    for path in (tmp_path / f"{'n' * 300}.png", tmp_path / "a\0.png", 7):
        with pytest.raises(fs.OutputPathError, match="expected"):
            history.plot(path)
    assert list(tmp_path.iterdir()) == []


def test_d1_without_matplotlib_the_error_says_what_to_install(make_step, data, monkeypatch):
    history = _trained(make_step, data)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(fs.MissingDependency, match=r'pip install "matplotlib>=3\.9"$'):
        history.plot()
