"""B12, G1: ensembles, estimators and searches on the workers of joblib: processes, threads, and those of a cluster of dask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import search_cases
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV

import fusedstep as fs

joblib = pytest.importorskip("joblib")


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of dask, of one thread each."""
    distributed = pytest.importorskip("distributed", reason="needs dask: pip install distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        distributed.Client(local) as client,
    ):
        yield client


@pytest.fixture(params=["loky", "threading", "dask"])
def workers(request):
    """Two workers of one kind, which joblib uses."""
    if request.param == "dask":
        request.getfixturevalue("cluster")
    with joblib.parallel_config(request.param, **({} if request.param == "dask" else {"n_jobs": 2})):
        yield request.param


def made(**settings):
    usual = {"models": lambda d: fs.mlp([d, 8, 3], dropout=0.2), "loss": fs.SoftmaxCrossEntropy(), "members": 3, "seed": 1}
    return fs.Bagging(**usual | settings)


def numbers(rows=300, columns=6):
    """x [rows, columns] and labels of 3 classes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, columns)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0.5)


def bits(bagging):
    return [np.array(v).tobytes() for m in bagging.members for v in m.model.parameters().values()]


@pytest.mark.row("B12")
@pytest.mark.parametrize("rows", [300, 60_000], ids=["few", "memmaps"])
def test_members_are_the_same_on_all_workers(rows, workers, tmp_path):
    """The larger data are above the megabyte from which joblib maps arrays into memory."""
    x, y = numbers(rows)
    loss = search_cases.Elsewhere(tmp_path)
    given = {"epochs": 1, "batch_size": 512, "sample_weight": np.linspace(1.0, 2.0, rows)}
    alone, spread = (made(loss=loss, n_jobs=n, features=0.7).fit(x, y, **given) for n in (1, None))
    threads = [path.read_text() for path in tmp_path.iterdir()]
    assert threads in ([[]] if workers == "threading" else [["1"], ["1", "1"]])
    assert bits(spread) == bits(alone)
    assert spread.out_of_bag == alone.out_of_bag
    for one, other in zip(alone.members, spread.members, strict=True):
        assert one.loss == other.loss
        assert type(other.rows) is np.ndarray
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.features, other.features)
    assert spread.predict_proba(x).tobytes() == alone.predict_proba(x).tobytes()


@pytest.mark.row("B12")
def test_the_error_of_a_worker_has_the_number_of_its_member(workers):
    x, y = numbers()
    optimizers = [fs.SGD(0.1), fs.SGD(1e30), fs.SGD(0.1)]
    with pytest.raises(fs.NonFiniteLossError, match=r"^member 1: expected a finite loss") as caught:
        made(optimizer=optimizers).fit(x, y)
    assert caught.value.step >= 1

    class Refused(fs.SoftmaxCrossEntropy):
        """A loss that takes all targets, for the out-of-bag metrics, but not those of a member."""

        def prepare(self, targets, *arguments):
            if not np.array_equal(targets, y):
                raise ValueError("not by this package")
            return super().prepare(targets, *arguments)

    with pytest.raises(ValueError, match="not by this package") as other:
        made(loss=Refused()).fit(x, y)
    assert any(note.startswith("in member ") for note in other.value.__notes__)


PROGRAM = """
import joblib, numpy as np, fusedstep as fs
x = np.random.default_rng(0).standard_normal((2000, 20)).astype("f")
class Noting(fs.SoftmaxCrossEntropy):
    def prepare(self, *arguments):
        import os, pathlib
        pathlib.Path("seen", str(os.getpid())).touch()
        return super().prepare(*arguments)
try:
    fs.Bagging(lambda d: fs.mlp([d, 8, 2]), Noting(), members=4, n_jobs=2).fit(x, (x[:, 0] > 0).astype(int), epochs=10**6)
except KeyboardInterrupt:
    raise SystemExit(7)
"""


@pytest.mark.row("B12")
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_the_workers_end_with_ctrl_c(tmp_path):
    (tmp_path / "seen").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait(lambda: process.poll() is not None or len(seen(tmp_path)) == 3)
    os.killpg(process.pid, signal.SIGINT)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 7, message
    wait(lambda: not any(map(runs, seen(tmp_path))))


def seen(folder):
    return [int(path.name) for path in (folder / "seen").iterdir()]


def runs(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait(holds):
    deadline = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.row("G1")
def test_estimators_give_the_same_on_all_workers(workers, data):
    x, y = data
    estimator = fs.MLPClassifier(hidden_layer_sizes=(8,), max_iter=3, backend="numpy", random_state=0)
    grid = [GridSearchCV(estimator, {"dropout": [0.0, 0.5]}, cv=2, n_jobs=n, error_score="raise").fit(x, y) for n in (1, None)]
    np.testing.assert_array_equal(*(search.cv_results_["mean_test_score"] for search in grid))
    np.testing.assert_array_equal(*(search.predict_proba(x) for search in grid))
    ensemble = [BaggingClassifier(estimator, n_estimators=2, n_jobs=n, random_state=0).fit(x, y) for n in (1, None)]
    np.testing.assert_array_equal(*(one.predict_proba(x) for one in ensemble))


@pytest.mark.parametrize("workers", ["loky", "dask"], indirect=True)
def test_workers_do_not_use_more_threads_than_their_part(workers):
    counts = joblib.Parallel()(joblib.delayed(fs.num_threads)() for _ in range(4))
    assert set(counts) == {max(1, joblib.cpu_count() // 2) if workers == "loky" else 1}


def test_functions_that_use_the_package_are_sent_to_workers(workers):
    widths = joblib.Parallel()(joblib.delayed(lambda width: repr(fs.mlp([width, 2])))(k) for k in (1, 2))
    assert widths == [repr(fs.mlp([k, 2])) for k in (1, 2)]


@pytest.mark.row("C12")
def test_searches_on_a_cluster_share_their_trials(cluster, tmp_path):
    pytest.importorskip("optuna")
    data, given = search_cases.search_data(), {"trials": 4, "epochs": 2, "space": search_cases.SMALL, "backend": "numpy"}
    storage = str(tmp_path / "search.journal")
    runs = [cluster.submit(fs.search, **data, **given, storage=storage, pure=False) for _ in range(2)]
    first, second = cluster.gather(runs)
    assert first.trials == second.trials == fs.search(**data, **given, storage=storage).trials
    assert len(first.trials) == 4
