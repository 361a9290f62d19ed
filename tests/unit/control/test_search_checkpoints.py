"""C12: the trial at hand of a search that was ended is taken up from its checkpoint, to the same result."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import search_cases
from search_cases import small_search

import fusedstep as fs
from fusedstep.framework.search import running, workers
from fusedstep.framework.search.checkpoints import TrialCheckpoints

pytest.importorskip("optuna")
needs_signals = pytest.mark.skipif(os.name != "posix", reason="sends signals")

PROGRAM = """
import logging, sys, time
logging.basicConfig(filename={log!r}, level="INFO")
sys.path.insert(0, {folder!r})
import fusedstep as fs
from fusedstep.framework.search import running
from search_cases import small_search

first, trials, fits = {first!r}, {trials!r}, []

class Slow(running._Pruning):
    def on_fit_begin(self, trainer):
        super().on_fit_begin(trainer)
        fits.append(trainer)

    def on_step_end(self, trainer, done, total):
        if len(fits) >= first:
            time.sleep(0.05)

Slow.__name__ = "_Pruning"
running._Pruning = Slow
small_search(checkpoint=fs.Checkpoint({runs!r}, every_steps=3), resume="auto", storage={storage!r}, trials=trials)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a search in a process, whose steps are slow from its `first` fit on."""
    processes = []

    def start(first=3, storage=None, trials=9):
        folder, runs = os.path.dirname(search_cases.__file__), str(tmp_path / "runs")
        log = str(tmp_path / f"{len(processes)}.log")
        code = PROGRAM.format(folder=folder, runs=runs, first=first, storage=storage, trials=trials, log=log)
        processes.append(subprocess.Popen([sys.executable, "-P", "-c", code]))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def _notes(caplog):
    caplog.set_level(logging.INFO, "fusedstep.checkpoint")


def _wait_for(process, runs, pattern):
    """Waits for a file in the folder."""
    deadline = time.monotonic() + 120
    while not list(runs.glob(pattern)):
        assert process.poll() is None, "the search ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _resumed(caplog):
    """Trial and step of each checkpoint that was taken up."""
    found = (re.search(r"resumed from .*trial-(\d+)\D.*, after (\d+) steps", record.getMessage()) for record in caplog.records)
    return [(int(match[1]), int(match[2])) for match in found if match]


@needs_signals
@pytest.mark.parametrize(
    ("number", "storage"),
    [
        (signal.SIGKILL, "search.db"),
        (signal.SIGTERM, None),
        (signal.SIGUSR1, None),
        pytest.param(signal.SIGKILL, None, marks=pytest.mark.exhaustive),
        pytest.param(signal.SIGTERM, "search.db", marks=pytest.mark.exhaustive),
        pytest.param(signal.SIGUSR1, "search.db", marks=pytest.mark.exhaustive),
    ],
)
def test_c12_a_search_ended_within_a_trial_goes_on_from_its_checkpoint(number, storage, found, start, tmp_path, caplog):
    runs = tmp_path / "runs"
    storage = storage and str(tmp_path / storage)
    process = start(storage=storage)
    _wait_for(process, runs, "trial-3/*/step-*")
    process.send_signal(number)
    assert process.wait(60) == (-9 if number == signal.SIGKILL else 143)
    assert [path.name for path in runs.glob("trial-*")] == ["trial-3"]
    again = small_search(checkpoint=fs.Checkpoint(runs), resume="auto", storage=storage)
    assert again.trials == found.trials
    ((trial, steps),) = _resumed(caplog)
    assert trial == 3
    assert steps >= 3
    assert {path.name for path in runs.iterdir()} <= {"search.journal"}


@needs_signals
def test_c12_a_trial_that_is_killed_again_and_again_moves_on(found, start, tmp_path, caplog):
    runs = tmp_path / "runs"
    for attempt in range(3):
        process = start(first=1)
        _wait_for(process, runs, f"trial-1/{attempt}/step-*")
        process.kill()
        process.wait()
    again = small_search(checkpoint=fs.Checkpoint(runs), resume="auto", trials=2)
    assert again.trials == found.trials[:2]
    ((trial, steps),) = _resumed(caplog)
    assert trial == 1
    assert steps >= 9


DEADLY = """
import os, signal, sys
sys.path.insert(0, {folder!r})
import fusedstep as fs
from fusedstep.framework.search import running
from fusedstep.framework.training.checkpoint_run import Writer, in_thread
from search_cases import small_search

class Deadly(running._Pruning):
    def on_step_end(self, trainer, done, total):
        if trainer.steps_done == {step!r}:
            os.kill(os.getpid(), signal.SIGKILL)

Deadly.__name__ = "_Pruning"
running._Pruning = Deadly
Writer.start = lambda writer, job: in_thread(job)
small_search(checkpoint=fs.Checkpoint({runs!r}, every_steps=1), resume="auto", trials=1)
"""


@pytest.fixture
def kill_at(tmp_path):
    """Runs a search that is killed in its first trial after that step, before its checkpoint."""

    def kill_at(step):
        code = DEADLY.format(folder=os.path.dirname(search_cases.__file__), runs=str(tmp_path / "runs"), step=step)
        assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == -signal.SIGKILL

    return kill_at


@needs_signals
def test_c12_other_options_than_those_of_the_trial_at_hand_are_told(found, kill_at, tmp_path):
    kill_at(3)
    options = {"checkpoint": fs.Checkpoint(tmp_path / "runs"), "resume": "auto", "trials": 1}
    with pytest.raises(fs.CheckpointError, match=r"other: step\.precision \(float32 in the checkpoint, float64 here\)"):
        small_search(**options, precision="float64")
    assert small_search(**options).trials == found.trials[:1]


@needs_signals
def test_c12_checkpoints_within_an_epoch_show_that_a_trial_gets_further(found, kill_at, tmp_path):
    for step in (2, 2, 3, 3, 3):  # after the checkpoint of the step before, within the first epoch
        kill_at(step)
    options = {"checkpoint": fs.Checkpoint(tmp_path / "runs"), "resume": "auto", "trials": 1}
    shutil.copytree(tmp_path / "runs", tmp_path / "copy")
    assert small_search(**options).trials == found.trials[:1]
    shutil.rmtree(tmp_path / "runs")
    shutil.copytree(tmp_path / "copy", tmp_path / "runs")
    for step in (3, 3):
        kill_at(step)
    assert small_search(**options).trials[0].state == "failed"


@needs_signals
def test_c12_workers_share_a_folder_and_a_waiting_one_ends_by_a_signal(found, start, tmp_path):
    runs = tmp_path / "runs"
    first = start(first=1, trials=1)
    _wait_for(first, runs, "trial-1/*/step-*")
    second = start(first=1, trials=1)
    _wait_for(second, tmp_path, "1.log")
    while "Waiting for what other workers run: trial 1." not in (tmp_path / "1.log").read_text():
        assert second.poll() is None
        time.sleep(0.01)
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == 143
    assert first.wait(60) == 0
    assert small_search(checkpoint=fs.Checkpoint(runs), resume="auto", trials=1).trials == found.trials[:1]
    assert not list(runs.glob("trial-*"))


@needs_signals
def test_c12_a_signal_between_two_trials_ends_the_search(found, tmp_path):
    checkpoint = fs.Checkpoint(tmp_path / "runs")
    before = signal.getsignal(signal.SIGTERM)

    def send(number, _):
        if number == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as ended:
        small_search(checkpoint=checkpoint, report=send)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    ran = []
    assert small_search(checkpoint=checkpoint, resume="auto", report=lambda *a: ran.append(a)).trials == found.trials
    assert len(ran) == 7


@needs_signals
def test_c12_a_signal_while_a_trial_begins_ends_it_before_its_first_step(found, tmp_path, monkeypatch):
    checkpoint, fit, steps = fs.Checkpoint(tmp_path / "runs"), fs.Trainer.fit, []

    def signalled(trainer, *arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            fit(trainer, *arguments, **options)
        finally:
            steps.append(trainer.steps_done)

    monkeypatch.setattr(fs.Trainer, "fit", signalled)
    with pytest.raises(SystemExit):
        small_search(checkpoint=checkpoint, trials=1)
    assert steps == [0]
    monkeypatch.undo()
    assert small_search(checkpoint=checkpoint, resume="auto", trials=1).trials == found.trials[:1]


@needs_signals
def test_c12_a_second_signal_acts_at_once(tmp_path, monkeypatch):
    ended = []
    monkeypatch.setattr(running._Pruning, "on_step_end", lambda *_: [os.kill(os.getpid(), signal.SIGUSR1) for _ in range(2)])
    before = signal.signal(signal.SIGUSR1, lambda *_: ended.append("before"))
    try:
        with pytest.raises(SystemExit):
            small_search(checkpoint=fs.Checkpoint(tmp_path / "runs"), trials=1)
        assert ended == ["before", "before"]  # the second signal, and the first one after the checkpoint
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_c12_a_trial_that_ended_before_its_result_was_stored_is_not_trained_again(tmp_path, monkeypatch, caplog):
    space = fs.SearchSpace(optimizer=["SGD"], lr=(1e-6, 1.0), schedule=["constant"], layers=(1, 1), width=(8, 8))
    options = {"space": space, "trials": 16, "epochs": 8}
    whole = small_search(**options).trials
    finish, checkpoint = workers.Claim.finish, fs.Checkpoint(tmp_path / "runs")

    def killed(claim, value, pruned):
        if pruned:
            raise KeyboardInterrupt
        finish(claim, value, pruned)

    monkeypatch.setattr(workers.Claim, "finish", killed)
    with pytest.raises(KeyboardInterrupt):
        small_search(checkpoint=checkpoint, **options)
    monkeypatch.undo()
    caplog.clear()
    ran = []
    again = small_search(checkpoint=checkpoint, resume="auto", report=lambda *given: ran.append(given), **options)
    assert again.trials == whole
    assert ran[0][1].state == "pruned"
    assert _resumed(caplog)[0][0] == ran[0][0]


def test_c12_a_worker_that_seemed_dead_has_a_folder_of_its_own(tmp_path):
    saved = TrialCheckpoints(fs.Checkpoint(tmp_path, 7, None, 3), "auto")
    first = saved.of(4, 11)
    assert first["checkpoint"].folder == tmp_path / "trial-5" / "11"
    assert (first["checkpoint"].every_steps, first["checkpoint"].every_epochs, first["checkpoint"].keep) == (7, None, 3)
    assert first["resume"] is None
    for number, name in (("9", "step-1"), ("11", "step-2"), ("12", "lock"), ("notes", "step-3")):
        (tmp_path / "trial-5" / number).mkdir(parents=True)
        (tmp_path / "trial-5" / number / f"{name}.safetensors").touch()
    assert saved.of(4, 13)["resume"] == tmp_path / "trial-5" / "11"
    assert saved.of(4, 13)["checkpoint"].folder == tmp_path / "trial-5" / "13"
    assert saved.of(3, 13)["resume"] is None
    (tmp_path / "trial-x").mkdir()
    saved.between({3: None})
    assert (tmp_path / "trial-5").exists()
    saved.between({4: None})
    assert not (tmp_path / "trial-5").exists()
    assert (tmp_path / "trial-x").exists()


def test_c12_a_folder_that_holds_a_search_is_refused_without_resume(tmp_path):
    checkpoint = fs.Checkpoint(tmp_path / "a" / "runs")
    small_search(checkpoint=checkpoint, trials=1)
    with pytest.raises(fs.CheckpointError, match=r"has one; pass resume=\"auto\" \(--resume\)"):
        small_search(checkpoint=checkpoint, trials=2)
    with pytest.raises(fs.HyperparameterError, match="different seed;"):
        small_search(checkpoint=checkpoint, resume="auto", trials=2, seed=1)
    (tmp_path / "b" / "trial-4").mkdir(parents=True)
    with pytest.raises(fs.CheckpointError, match="has one"):
        small_search(checkpoint=fs.Checkpoint(tmp_path / "b"), storage=tmp_path / "search.db", trials=2)
    assert not (tmp_path / "search.db").exists()


@pytest.mark.parametrize("name", ["n" * 300, "a\0b", "\ud800", "file", "file/x"])
def test_c12_names_that_no_folder_can_have(name, tmp_path):
    (tmp_path / "file").touch()
    for resume in (None, "auto"):
        with pytest.raises(fs.OutputPathError, match="folder that can be written, for checkpoints"):
            small_search(checkpoint=fs.Checkpoint(tmp_path / name), resume=resume, trials=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"checkpoint": "runs"}, r"write checkpoint=fs.Checkpoint\('runs/search'\)"),
        ({"checkpoint": fs.Checkpoint("runs", best="val_loss")}, "without best for a search"),
        ({"checkpoint": fs.Checkpoint("runs"), "resume": "runs"}, 'resume to be "auto" or None'),
        ({"resume": "auto"}, 'expected a checkpoint with resume="auto"'),
    ],
)
def test_c12_impossible_checkpoints_are_refused(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fs.HyperparameterError, match=words):
        small_search(**options)
    assert not list(tmp_path.iterdir())
