"""C12: `fs.search(workers=2)` starts processes that share the trials, replaces those that end, and ends them with itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import search_cases
from search_cases import Elsewhere, EndsElsewhere, small_search

import fusedstep as fs
from fusedstep.framework.search import processes, storage, workers

optuna = pytest.importorskip("optuna")
needs_signals = pytest.mark.skipif(os.name != "posix", reason="sends signals")


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, which holds none when a search has ended."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def started(monkeypatch):
    """The WorkerProcesses of a search."""
    seen = []
    enter = processes.WorkerProcesses.__enter__
    monkeypatch.setattr(processes.WorkerProcesses, "__enter__", lambda self: (seen.append(self), enter(self))[1])
    return seen


def _states(path):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    opened = storage.open_storage(optuna, path)
    return [trial.state.name for trial in optuna.load_study(study_name=workers.STUDY, storage=opened).trials]


@pytest.mark.parametrize("name", ["search.db", pytest.param("search.journal", marks=pytest.mark.exhaustive)])
def test_c12_processes_share_the_trials_and_their_threads(name, tmp_path, found):
    (tmp_path / "seen").mkdir()
    loss, numbers = Elsewhere(tmp_path / "seen", pause=0.1), []
    with_workers = {"storage": tmp_path / name, "loss": loss, "workers": 2, "report": lambda number, _: numbers.append(number)}
    fs.set_num_threads(4)
    try:
        result = small_search(trials=8, **with_workers)
    finally:
        fs.set_num_threads(None)
    assert sorted(numbers) == list(range(1, 9))
    assert len(result.trials) == 8
    assert result.trials[0] == found.trials[0]  # the first ones are drawn without the others
    notes = {int(path.name): path.read_text() for path in (tmp_path / "seen").iterdir()}
    assert len(notes) == 2
    assert set(notes.values()) == {"2"}
    states = _states(tmp_path / name)
    assert len(states) - states.count("FAIL") == 8  # a worker that was second to enter a trial withdraws its own
    assert small_search(trials=8, **with_workers).trials == result.trials
    assert small_search(trials=8, storage=tmp_path / name, loss=loss).trials == result.trials
    assert len(numbers) == 8


@needs_signals
def test_c12_a_killed_process_is_replaced_and_its_trial_is_run_again(tmp_path, started, caplog):
    caplog.set_level("INFO", "fusedstep.search")
    numbers = []

    def kill_one(number, trial):
        numbers.append(number)
        if len(numbers) == 1:
            next(iter(started[0]._running)).kill()

    runs = fs.Checkpoint(tmp_path / "runs", every_steps=3)
    result = small_search(trials=7, checkpoint=runs, loss=Elsewhere(pause=0.03), workers=2, report=kill_one)
    assert len(numbers) == len(set(numbers)) >= 6  # it may have been killed between a result and its report
    assert [trial.state for trial in result.trials].count("failed") == 0
    assert len(result.trials) == 7
    assert "A worker ended with exit status -9; another one takes its place." in caplog.messages
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["search.journal"]
    with pytest.raises(fs.CheckpointError, match="resume"):
        small_search(trials=7, checkpoint=runs, loss=Elsewhere(pause=0.03), workers=2)
    more = small_search(trials=8, checkpoint=runs, loss=Elsewhere(pause=0.03), workers=2, resume="auto")
    assert more.trials[:7] == result.trials
    assert sum("Resuming after the 7 finished trials" in message for message in caplog.messages) == 1


def test_c12_the_error_of_a_worker_is_that_of_the_search(tmp_path):
    with pytest.raises(fs.ShapeError, match=r"^of a worker$") as caught:
        small_search(storage=tmp_path / "a.db", loss=Elsewhere(error=fs.ShapeError("of a worker")), workers=2)
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(ZeroDivisionError, match=r"^by a worker") as other:
        small_search(storage=tmp_path / "b.db", loss=Elsewhere(error=ZeroDivisionError("by a worker")), workers=2)
    (note,) = other.value.__notes__
    assert note.startswith("in a worker of the search:\nTraceback")
    assert "raise self.error" in note


def test_c12_workers_that_only_end_are_not_started_forever(tmp_path, started, monkeypatch):
    monkeypatch.setattr(processes, "TRIES", 2)
    with pytest.raises(fs.StateError, match=r"4 ended before they had begun one, the last with exit status 3; .* workers=1"):
        small_search(storage=tmp_path / "search.db", loss=EndsElsewhere(), workers=2)
    assert not started[0].running


def test_c12_trials_that_end_all_their_workers_have_failed(tmp_path, caplog):
    caplog.set_level("INFO", "fusedstep.search")
    result = small_search(storage=tmp_path / "search.db", trials=1, loss=Elsewhere(calls=2), workers=2)
    assert [trial.state for trial in result.trials] == ["failed"]
    assert "3 workers that ran it ended" in result.trials[0].reason
    assert "A worker ended with exit status 0; another one takes its place." in caplog.messages
    with pytest.raises(fs.StateError, match="of 1, 1 failed"):
        result.best  # noqa: B018


def test_c12_a_worker_that_exits_ends_the_search(tmp_path):
    with pytest.raises(SystemExit) as caught:
        small_search(storage=tmp_path / "search.db", loss=Elsewhere(error=SystemExit(5)), workers=2)
    assert caught.value.code == 5


class Local(fs.SoftmaxCrossEntropy):
    """A loss that looks as if it were defined in the program."""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "expected workers to be a whole number >= 1; got 0"),
        ({"workers": 1.5}, "whole number"),
        ({"parallel": "mpi"}, "expected parallel=None in a search"),
        ({"workers": 2, "storage": None}, 'got None, which is in the memory of one process; pass storage="search.db"'),
        ({"workers": 2, "storage": "sqlite://"}, "got 'sqlite://', which is in the memory"),
        ({"workers": 2, "storage": "sqlite:///:memory:"}, "which is in the memory"),
        ({"workers": 2, "loss": "in __main__"}, r"expected loss .* defined in the program itself, in __main__; move"),
        ({"workers": 2, "loss": "in a function"}, r"expected loss .*local.*; define its functions and classes in a module"),
    ],
)
def test_c12_what_processes_cannot_share_is_refused(options, words, tmp_path, monkeypatch):
    if options.get("loss") == "in __main__":
        monkeypatch.setattr(Local, "__module__", "__main__")
        monkeypatch.setattr(sys.modules["__main__"], "Local", Local, raising=False)
        options = {**options, "loss": Local()}
    elif "loss" in options:
        options = {**options, "loss": type("Inner", (fs.SoftmaxCrossEntropy,), {"__qualname__": "f.<locals>.Inner"})()}
    with pytest.raises(fs.HyperparameterError, match=words):
        small_search(**{"storage": tmp_path / "search.db", **options})
    assert not (tmp_path / "search.db").exists()


def test_c12_no_room_for_the_data_is_a_typed_error(tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(fs.OutputPathError, match=r"copy of the data in .*missing.*set TMPDIR"):
        small_search(storage=tmp_path / "search.db", workers=2)


PROGRAM = """
import sys, tempfile
from pathlib import Path
sys.path.insert(0, {folder!r})
tempfile.tempdir = {temporary!r}
from search_cases import Elsewhere, small_search
try:
    small_search(storage={storage!r}, trials=50, loss=Elsewhere(Path({seen!r}), pause=0.2), workers=2)
except KeyboardInterrupt:
    sys.exit("stopped")
"""


@needs_signals
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_c12_the_processes_end_with_the_one_that_started_them(how, tmp_path, temporary):
    """Ctrl-C goes to all of them, as does the signal of a scheduler. A program needs no `if __name__ == "__main__"`."""
    (tmp_path / "seen").mkdir()
    path = tmp_path / "search.db"
    code = PROGRAM.format(
        folder=os.path.dirname(search_cases.__file__), temporary=str(temporary), storage=str(path), seen=str(tmp_path / "seen")
    )
    (tmp_path / "program.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, "-P", "program.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    _wait(lambda: len(list((tmp_path / "seen").iterdir())) == 2 and "COMPLETE" in _states(path))
    own = [int(file.name) for file in (tmp_path / "seen").iterdir()]
    if how == "SIGKILL":
        process.kill()
    else:
        os.killpg(process.pid, signal.Signals[how])
    message = process.communicate(timeout=60)[1]
    _wait(lambda: not any(map(_runs, own)) and not list(temporary.iterdir()))
    ends = {"SIGINT": (1, "stopped\n"), "SIGTERM": (143, ""), "SIGKILL": (-signal.SIGKILL, "")}
    assert (process.returncode, message) == ends[how]
    result = small_search(storage=path, trials=_states(path).count("COMPLETE") + 2, loss=Elsewhere())
    assert "failed" not in {trial.state for trial in result.trials}
    assert "RUNNING" not in _states(path)


def _wait(holds):
    deadline = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
