"""C12: hyperparameters are found through Optuna; a search can be killed and goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
import search_cases
from search_cases import SMALL, search_data, small_search

import fusedstep as fs

optuna = pytest.importorskip("optuna")

def test_c12_the_value_of_a_trial_is_what_its_candidate_reaches(found):
    assert len(found.trials) == 9
    assert {t.state for t in found.trials} <= {"complete", "pruned", "diverged"}
    assert found.best_value == min(t.value for t in found.trials if t.state == "complete")
    data = search_data()
    for trial in (found.best_trial, found.trials[0]):
        c = trial.candidate
        step = c.make_step(5, 3, fs.SoftmaxCrossEntropy(), backend="numpy")
        history = fs.Trainer(step, schedule=c.schedule).fit(**data, epochs=6, batch_size=c.batch_size)
        assert min(history["val_loss"]) == trial.value
    assert str(found).count("\n") == 9


def test_c12_candidates_may_be_ensembles(found, tmp_path):
    storage = tmp_path / "search.db"
    ensembles = small_search(n_ensemble=3, trials=2, storage=storage)
    assert [t.candidate for t in ensembles.trials] == [t.candidate for t in found.trials[:2]]
    c = ensembles.best_trial.candidate
    step = c.make_step(5, 3, fs.SoftmaxCrossEntropy(), n_ensemble=3, backend="numpy")
    assert step.model.layers[-1].members == 3
    history = fs.Trainer(step, schedule=c.schedule).fit(**search_data(), epochs=6, batch_size=c.batch_size)
    assert min(history["val_loss"]) == ensembles.best_value
    with pytest.raises(fs.HyperparameterError, match="different n_ensemble"):
        small_search(n_ensemble=2, trials=3, storage=storage)
    with pytest.raises(fs.HyperparameterError, match="n_ensemble"):
        small_search(trials=3, storage=storage)


def weighted_data():
    """The data with weights: whole numbers, some of them 0, for the rows of training, and others for those of validation."""
    data = search_data()
    rng = np.random.default_rng(3)
    return {**data, "validation": (*data["validation"], rng.integers(1, 5, 100))}, rng.integers(0, 4, 200)


def test_g2_the_value_of_a_trial_is_the_weighted_loss_of_its_weighted_training(found):
    data, weights = weighted_data()
    weighted = small_search(**data, sample_weight=weights, trials=6)
    # The first trials are drawn before any result is known, so their candidates are those of the search without weights.
    both = list(zip(weighted.trials[:5], found.trials, strict=False))
    assert all(one.candidate == other.candidate and one.value != other.value for one, other in both)
    for trial in (weighted.best_trial, weighted.trials[0]):
        c = trial.candidate
        step = c.make_step(5, 3, fs.SoftmaxCrossEntropy(), backend="numpy")
        fit = fs.Trainer(step, schedule=c.schedule).fit
        history = fit(**data, sample_weight=weights, epochs=6, batch_size=c.batch_size)
        assert min(history["val_loss"]) == trial.value
    ones = small_search(**search_data(), sample_weight=np.ones(200), trials=2)
    np.testing.assert_allclose([t.value for t in ones.trials], [t.value for t in found.trials[:2]], rtol=1e-5)


def test_g2_a_storage_of_a_search_with_other_weights_is_refused(tmp_path):
    storage = tmp_path / "search.db"
    data, weights = weighted_data()
    small_search(**data, sample_weight=weights, storage=storage, trials=1)
    small_search(**data, sample_weight=weights, storage=storage, trials=1)
    other = weights.copy()
    other[0] += 1
    for changed in ({**data, "sample_weight": other}, data, {**search_data(), "sample_weight": weights}):
        with pytest.raises(fs.HyperparameterError, match="different data;"):
            small_search(**changed, storage=storage, trials=1)


def test_c12_the_same_seed_finds_the_same_and_another_does_not(found):
    assert small_search().trials == found.trials
    assert small_search(seed=1).trials != found.trials


def test_c12_the_choices_stay_in_the_space(found):
    for trial in found.trials:
        c = trial.candidate
        assert c.optimizer in SMALL.optimizer
        assert c.schedule in SMALL.schedule
        assert c.activation in SMALL.activation
        assert c.batch_size in (20, 50)
        assert 0 <= len(c.hidden) <= 2
        assert all(4 <= width <= 16 for width in c.hidden)
        assert 0.0 <= c.dropout <= 0.5
        usual = getattr(fs, c.optimizer)().lr
        assert 0.1 * usual <= c.lr <= 30 * usual
    assert len({t.candidate.optimizer for t in found.trials}) > 1
    assert len({len(t.candidate.hidden) for t in found.trials}) > 1


def test_c12_poor_candidates_are_given_up_by_the_losses_of_their_epochs():
    space = fs.SearchSpace(optimizer=["SGD"], lr=(1e-6, 1.0), schedule=["constant"], layers=(1, 1), width=(8, 8))
    pruned = small_search(space=space, trials=16, epochs=8)
    states = [t.state for t in pruned.trials]
    assert "pruned" in states[5:]
    assert "pruned" not in states[:5]
    given_up = [t for t in pruned.trials if t.state == "pruned"]
    assert all(2 < t.epochs < 8 for t in given_up)
    assert all(t.epochs == 8 for t in pruned.trials if t.state == "complete")
    assert pruned.best_value < np.median([t.value for t in given_up])
    whole = small_search(space=space, trials=16, epochs=8, pruning=False)
    assert {t.state for t in whole.trials} == {"complete"}


def test_c12_divergence_is_a_bad_trial_and_not_an_end():
    x, y, (xv, yv) = search_data().values()
    space = fs.SearchSpace(optimizer=["SGD"], lr=(1e-3, 1e6), layers=(1, 1), width=(8, 8), schedule=["constant"])
    found = fs.search(x, y.astype("f4"), (xv, yv.astype("f4")), space=space, trials=8, epochs=4, backend="numpy")
    assert "diverged" in [t.state for t in found.trials]
    assert np.isfinite(found.best_value)
    assert "inf" in str(found)


def test_c12_a_storage_holds_the_trials_and_a_second_call_adds_to_them(found, tmp_path):
    storage = tmp_path / "search.db"
    first = small_search(storage=storage, trials=4)
    assert first.trials == found.trials[:4]
    told = []
    assert small_search(storage=storage, report=lambda *a: told.append(a)).trials == found.trials
    assert told == list(enumerate(found.trials, 1))[4:]
    assert small_search(storage=storage, trials=2).trials == found.trials[:2]


PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
from search_cases import small_search
small_search(storage={storage!r}, trials=9)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_c12_a_killed_search_goes_on_as_if_it_had_not_been(found, tmp_path):
    storage = str(tmp_path / "search.db")
    code = PROGRAM.format(folder=os.path.dirname(search_cases.__file__), storage=storage)
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 120
    while _count(storage, "COMPLETE") < 3:
        assert process.poll() is None, "the search ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 3 <= _count(storage, "COMPLETE") + _count(storage, "PRUNED") < 9
    assert small_search(storage=storage).trials == found.trials
    assert _count(storage, "RUNNING") == 0


def _count(storage, state):
    try:
        with sqlite3.connect(f"file:{storage}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT COUNT(*) FROM trials WHERE state = ?", (state,)).fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def test_c12_an_error_in_a_trial_closes_it(found, tmp_path):
    storage = tmp_path / "search.db"

    def stop(number, trial):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_search(storage=storage, report=stop)
    assert small_search(storage=storage).trials == found.trials


def test_c12_a_storage_of_another_search_is_refused(tmp_path):
    storage = tmp_path / "search.db"
    small_search(storage=storage, trials=1)
    with pytest.raises(fs.HyperparameterError, match=r"different epochs, seed;"):
        small_search(storage=storage, trials=1, epochs=7, seed=3)
    data = search_data()
    data["x"][0, 0] += 1
    with pytest.raises(fs.HyperparameterError, match="different data;"):
        small_search(**data, storage=storage, trials=1)


@pytest.mark.parametrize("name", ["there.txt", "folder", "no/where.db", "broken.db", "what?.db"])
def test_c12_a_storage_that_is_none_is_refused_and_left_alone(name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\x00" + bytes(range(200)) * 30)
    (tmp_path / "there.txt").write_text("not a data base at all")
    with pytest.raises(fs.OutputPathError, match=r"SQLite.*search\.db"):
        small_search(storage=tmp_path / name, trials=1)
    assert (tmp_path / "there.txt").read_text() == "not a data base at all"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": ["Adm"]}, "did you mean 'Adam'"),
        ({"optimizer": "Adam"}, "list of different choices"),
        ({"optimizer": []}, "list of different choices"),
        ({"batch_size": [32, 32]}, "different choices"),
        ({"batch_size": [0]}, "batch_size"),
        ({"activation": ["rleu"]}, "did you mean 'relu'"),
        ({"schedule": ["cosin"]}, "did you mean 'cosine'"),
        ({"lr": (0.0, 0.1)}, "lr of the search space"),
        ({"lr": 0.1}, r"\(low, high\)"),
        ({"layers": (3, 1)}, "swap them"),
        ({"layers": (-1, 1)}, "layers"),
        ({"width": (0, 4)}, "width"),
        ({"dropout": (0.0, 1.0)}, "dropout"),
        ({"weight_decay": (-1, 1)}, "weight_decay"),
    ],
)
def test_c12_impossible_spaces_are_refused(settings, words):
    with pytest.raises(fs.HyperparameterError, match=words):
        fs.SearchSpace(**settings)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"trials": 0}, fs.HyperparameterError), ({"epochs": 0}, fs.HyperparameterError),
        ({"seed": -1}, fs.HyperparameterError), ({"space": {"lr": (1, 2)}}, fs.HyperparameterError),
        ({"validation": None}, fs.HyperparameterError),
        ({"backend": "nmpy"}, fs.UnknownBackend), ({"precision": "int8"}, fs.DtypeError),
        ({"sample_weight": np.full(200, -1.0)}, fs.SampleWeightError), ({"sample_weight": np.ones(3)}, fs.ShapeError),
        ({"validation": (*search_data()["validation"], np.zeros(100))}, fs.SampleWeightError),
        ({"y": np.full(200, -1)}, fs.FusedstepError), ({"x": np.full((200, 5), np.nan)}, fs.NonFiniteDataError),
    ],
)  # fmt: skip
def test_c12_bad_input_is_refused_before_a_storage_is_made(options, error, tmp_path):
    with pytest.raises(error):
        small_search(storage=tmp_path / "search.db", **options)
    assert not list(tmp_path.iterdir())


def test_c12_without_optuna_it_says_what_to_install():
    code = f"""
import sys
sys.modules["optuna"] = None
sys.path.insert(0, {os.path.dirname(__file__)!r})
import numpy as np, fusedstep as fs
try:
    fs.search(np.eye(4), np.arange(4), (np.eye(4), np.arange(4)), backend="numpy")
except fs.MissingDependency as error:
    assert 'pip install "optuna>=' in str(error)
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_c12_regression_on_each_backend(backend):
    x, _, (xv, _) = search_data().values()
    found = fs.search(
        x, x[:, :2].copy(), (xv, xv[:, :2].copy()), trials=3, epochs=4, backend=backend, precision="float64", space=SMALL
    )
    assert found.best_value < 2.0
