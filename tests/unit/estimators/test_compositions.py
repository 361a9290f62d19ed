"""fs.MLPClassifier and fs.MLPRegressor within pipelines, searches, calibration, workers and pickles."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingRegressor
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fusedstep as fs


def classifier(**settings):
    small = {"preset": "scikit-learn", "hidden_layer_sizes": (8,), "max_iter": 60, "learning_rate_init": 2e-2}
    return fs.MLPClassifier(**small, random_state=0, **settings)


@pytest.mark.row("G1")
def test_a_pipeline_and_its_search(data):
    x, y = data
    pipeline = make_pipeline(StandardScaler(), classifier(optimizer=fs.Adam(2e-2)))
    search = GridSearchCV(
        pipeline, {"mlpclassifier__dropout": [0.0, 0.9], "mlpclassifier__encoder": ["auto", None]}, cv=2, error_score="raise"
    ).fit(x, y)
    assert search.best_params_["mlpclassifier__dropout"] == 0.0
    assert search.best_score_ > 0.7
    assert len(search.cv_results_["params"]) == 4


def test_settings_of_an_encoder_are_searched(people):
    frame, y = people
    search = GridSearchCV(classifier(encoder=fs.TableEncoder()), {"encoder__scaling": ["robust", "standard"]}, cv=2)
    search.fit(frame, y)
    assert search.best_estimator_.encoder_.scaling == search.best_params_["encoder__scaling"]


def test_cross_validation_gives_the_same_in_two_processes(people):
    frame, y = people
    alone = cross_val_score(classifier(), frame, y, cv=2, error_score="raise")
    assert np.array_equal(cross_val_score(classifier(), frame, y, cv=2, n_jobs=2, error_score="raise"), alone)
    assert alone.mean() > 0.8
    assert cross_val_predict(classifier(), frame, y, cv=2, method="predict_proba").shape == (240, 2)


@pytest.mark.row("G1")
def test_calibration_importance_and_bagging(data):
    x, y = data
    calibrated = CalibratedClassifierCV(classifier(), cv=2).fit(x, y, sample_weight=np.linspace(1.0, 2.0, 240))
    assert calibrated.score(x, y) > 0.8
    importance = permutation_importance(classifier().fit(x, y), x, y, n_repeats=2, random_state=0).importances_mean
    assert set(np.argsort(importance)[-2:]) == {0, 1}
    bagged = BaggingRegressor(fs.MLPRegressor(max_iter=30, learning_rate_init=1e-2), 3, random_state=0).fit(x, x[:, 0])
    assert bagged.score(x, x[:, 0]) > 0.7


def test_clones_are_not_fitted_and_copy_all_settings(data):
    x, y = data
    given = {"optimizer": fs.AdamW(1e-3), "encoder": fs.TableEncoder(), "callbacks": [fs.StopOnTarget(0.0, "loss")]}
    made = classifier(class_weight={"low": 2.0}, **given)
    copied = clone(made.fit(x, y))
    assert not hasattr(copied, "model_")
    assert copied.get_params().keys() == made.get_params().keys()
    for name, value in given.items():
        assert getattr(copied, name) is not value
    assert np.array_equal(copied.fit(x, y).predict_proba(x), made.predict_proba(x))


@pytest.mark.row("G1")
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_a_pickle_predicts_the_same_in_a_new_process(people, tmp_path, backend):
    frame, y = people
    made = classifier(backend=backend).fit(frame, y)
    path = tmp_path / "fitted.pickle"
    path.write_bytes(pickle.dumps((made, frame)))
    program = (
        f"import pickle, sys; made, frame = pickle.load(open({str(path)!r}, 'rb')); "
        "sys.stdout.write(made.predict_proba(frame).tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert bytes.fromhex(done.stdout) == made.predict_proba(frame).tobytes()


def test_a_pickle_goes_on_with_partial_fit(data):
    x, y = data
    made = classifier().partial_fit(x, y, classes=np.unique(y))
    again = pickle.loads(pickle.dumps(made))
    assert np.array_equal(made.partial_fit(x, y).predict_proba(x), again.partial_fit(x, y).predict_proba(x))


def test_scikit_learn_is_imported_only_for_the_estimators():
    program = (
        "import sys, fusedstep as fs; fs.mlp, fs.Trainer, fs.TableEncoder, fs.Bagging; assert 'sklearn' not in sys.modules; "
        "fs.MLPRegressor; assert 'sklearn' in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_without_scikit_learn_the_error_has_the_line_that_installs_it(name):
    program = f"import sys; sys.modules['sklearn'] = None; import fusedstep as fs; from fusedstep import *; {name}()"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    last = done.stderr.rstrip().splitlines()[-1]
    assert last.startswith("fusedstep.errors.MissingDependency: an estimator with scikit-learn's interface needs sklearn")
    assert last.endswith('pip install "scikit-learn>=1.6"')


def test_workers_that_are_threads_give_the_same(data):
    joblib = pytest.importorskip("joblib")
    x, y = data
    alone = cross_val_score(classifier(), x, y, cv=4, error_score="raise")
    with joblib.parallel_config("threading"):
        assert np.array_equal(cross_val_score(classifier(), x, y, cv=4, n_jobs=4, error_score="raise"), alone)


def test_the_backend_in_use_is_taken(data):
    with fs.use_backend("numpy"):
        made = classifier().fit(*data)
    assert made.model_.backend.name == "numpy"
    assert made.predict(data[0]).shape == (240,)
