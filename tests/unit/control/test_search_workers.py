"""C12: processes share the trials of one storage; what a killed one leaves is run again; damage has typed errors."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest
import search_cases
from search_cases import small_search

import fusedstep as fs
from fusedstep.framework.search import liveness, storage, workers
from fusedstep.framework.search.result import SearchTrial

optuna = pytest.importorskip("optuna")

STORAGES = ("search.db", "search.journal")
on_sqlite, on_a_journal = (
    pytest.mark.parametrize("name", [first, pytest.param(second, marks=pytest.mark.exhaustive)])
    for first, second in (STORAGES, STORAGES[::-1])
)
"""Each is shared by workers and survives them by default; the same with the other one takes long."""
needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals that cannot be caught")

PROGRAM = """
import json, logging, sys, time
sys.path.insert(0, {folder!r})
from search_cases import small_search
from fusedstep.framework.search import liveness, running

logging.basicConfig(level=logging.INFO, format="%(message)s")
host, slow, patience = {host!r}, {slow!r}, {patience!r}
if host:  # another machine, for all that can be known
    liveness._machine = lambda: host
if patience:
    liveness.BEAT, liveness.GRACE = patience
train, started = running._train, []

def slowed(*arguments):
    started.append(1)
    print("started", flush=True)
    time.sleep(slow[min(len(started), len(slow)) - 1])
    train(*arguments)

running._train = slowed
own = []
result = small_search(storage={storage!r}, trials={trials!r}, report=lambda number, trial: own.append(number))
print(json.dumps([own, [repr(trial) for trial in result.trials]]))
"""


@pytest.fixture
def start(tmp_path):
    """Starts a worker; those that still run are killed at the end."""
    processes = []

    def start(name, trials=6, host=None, slow=(0.0,), patience=None):
        code = PROGRAM.format(
            folder=os.path.dirname(search_cases.__file__), storage=str(tmp_path / name),
            trials=trials, host=host, slow=slow, patience=patience,
        )  # fmt: skip
        err = tmp_path / f"{len(processes)}.err"
        with err.open("w") as stream:
            process = subprocess.Popen([sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, stderr=stream, text=True)
        process.err = err
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def _result(process):
    """Numbers of the trials that a worker ran, and all trials."""
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 0, process.err.read_text()
    return json.loads(out.splitlines()[-1])


def _wait_for_start(process, times):
    for _ in range(times):
        assert process.stdout.readline() == "started\n", process.err.read_text()


def _entries(path):
    """All trials that Optuna finds in the storage."""
    opened = storage.open_storage(optuna, path)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.load_study(study_name=workers.STUDY, storage=opened).trials


def _check_that_each_trial_counts_once(path, total):
    states = optuna.trial.TrialState
    entries = _entries(path)
    assert {trial.state for trial in entries} <= {states.COMPLETE, states.PRUNED, states.FAIL}
    done = [trial for trial in entries if trial.state is not states.FAIL]
    assert sorted(trial.user_attrs["slot"] for trial in done) == list(range(total))
    return [trial for trial in entries if trial.state is states.FAIL]


@on_sqlite
def test_c12_workers_share_the_trials(name, start, tmp_path):
    pair = [start(name, trials=8, slow=(0.3,)) for _ in range(2)]
    (first, trials), (second, same) = map(_result, pair)
    assert sorted(first + second) == list(range(1, 9))
    assert first
    assert second
    assert trials == same
    _check_that_each_trial_counts_once(tmp_path / name, 8)
    late, again = _result(start(name, trials=8))
    assert (late, again) == ([], trials)


@needs_kill
@on_a_journal
def test_c12_the_trial_of_a_killed_worker_is_taken_up_with_its_hyperparameters(name, start, tmp_path):
    killed, other = start(name, slow=(0.0, 1000.0)), start(name, slow=(0.5,))
    _wait_for_start(killed, 2)
    killed.kill()
    killed.wait()
    own, trials = _result(other)
    assert len(trials) == 6
    assert len(own) in (5, 6)
    (left,) = [trial for trial in _check_that_each_trial_counts_once(tmp_path / name, 6) if trial.params]
    slot = left.user_attrs["slot"]
    assert slot + 1 in own
    assert f"Trial {slot + 1} was left by a worker that ended; it is run again." in other.err.read_text()
    (taken,) = [t for t in _entries(tmp_path / name) if t.user_attrs["slot"] == slot and t.number > left.number and t.params]
    assert taken.params == left.params
    assert taken.user_attrs["candidate"] == left.user_attrs["candidate"]


DEADLY = """
import os, signal, sys
sys.path.insert(0, {folder!r})
from search_cases import small_search
from fusedstep.framework.search import running

class Deadly(running._Pruning):
    def on_epoch_begin(self, trainer, epoch):
        if self.claim.slot == 1 and epoch == {epoch!r}:
            os.kill(os.getpid(), signal.SIGKILL)

running._Pruning = Deadly
small_search(storage={storage!r}, trials=3)
"""


@needs_kill
@pytest.mark.parametrize(
    ("name", "epochs"),
    [("search.db", [1, 1, 1]), ("search.journal", [3, 4, 2, 5, 5, 4, 5])],
    ids=["SQLite", "further-and-further"],
)
def test_c12_a_trial_that_ends_all_its_workers_fails(name, epochs, found, tmp_path, caplog):
    caplog.set_level("INFO", "fusedstep.search")
    storage = str(tmp_path / name)
    for epoch in epochs:
        code = DEADLY.format(folder=os.path.dirname(search_cases.__file__), epoch=epoch, storage=storage)
        assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == -signal.SIGKILL
    result = small_search(storage=storage, trials=3)
    words = "3 workers that ran it ended, none further in it than one before; maybe it needs too much memory"
    assert f"Trial 2 has failed: {words}." in caplog.messages
    assert result.trials[0] == found.trials[0]
    assert result.trials[1] == SearchTrial(found.trials[1].candidate, np.inf, epochs[-1] - 1, "failed", words)
    assert result.trials[2].state == "complete"
    assert result.best_trial.state == "complete"
    assert small_search(storage=storage, trials=3).trials == result.trials


@needs_kill
def test_c12_a_trial_whose_workers_get_further_has_not_failed(found, tmp_path):
    storage = str(tmp_path / "search.journal")
    for epoch in (2, 2, 2, 3):
        code = DEADLY.format(folder=os.path.dirname(search_cases.__file__), epoch=epoch, storage=storage)
        assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == -signal.SIGKILL
    assert small_search(storage=storage, trials=3).trials == found.trials[:3]


def test_c12_a_trial_that_runs_out_of_memory_fails_and_the_search_goes_on(found, tmp_path, monkeypatch):
    fit, fits = fs.Trainer.fit, []

    def hungry(trainer, *arguments, **options):
        fits.append(trainer)
        if len(fits) in failing:
            raise MemoryError("Unable to allocate 3 TiB\nfor an array")
        return fit(trainer, *arguments, **options)

    monkeypatch.setattr(fs.Trainer, "fit", hungry)
    failing, reason = {2}, "MemoryError: Unable to allocate 3 TiB"
    result = small_search(storage=tmp_path / "search.db", trials=3)
    assert result.trials[1] == SearchTrial(found.trials[1].candidate, np.inf, 0, "failed", reason)
    assert [result.trials[0], result.trials[2].state] == [found.trials[0], "complete"]
    assert "failed" in str(result)
    fits.clear()
    failing = {1, 2}
    with pytest.raises(fs.StateError, match=r"of 2, 2 failed and all others diverged; .* 3 TiB; search smaller networks"):
        small_search(trials=2).best  # noqa: B018


@needs_kill
@on_a_journal
def test_c12_on_other_machines_heartbeats_tell_who_ended(name, start, tmp_path):
    killed = start(name, host="a", slow=(0.0, 1000.0), patience=(0.3, 3.0))
    _wait_for_start(killed, 2)
    # Longer than the patience: heartbeats keep the trial.
    busy = start(name, host="b", slow=(4.5, 0.0), patience=(0.3, 3.0))
    _wait_for_start(busy, 1)
    killed.kill()
    killed.wait()
    last = start(name, host="c", patience=(0.3, 3.0))
    (own, trials), (others, same) = _result(busy), _result(last)
    assert trials == same
    assert sorted([1, *own, *others]) == [1, 2, 3, 4, 5, 6]
    assert "Waiting up to 3 seconds to see whether workers still run" in last.err.read_text()
    (left,) = [trial for trial in _check_that_each_trial_counts_once(tmp_path / name, 6) if trial.params]
    assert left.user_attrs["worker"][0] == "a"


@needs_kill
def test_c12_a_worker_that_wakes_up_too_late_drops_its_trial_and_goes_on(start, tmp_path):
    name = "search.journal"
    asleep = start(name, host="a", trials=5, slow=(1.0, 0.0), patience=(0.2, 2.0))
    _wait_for_start(asleep, 1)
    asleep.send_signal(signal.SIGSTOP)
    other = start(name, host="b", trials=5, slow=(0.0, 4.0, 0.0), patience=(0.2, 2.0))
    _wait_for_start(other, 2)
    asleep.send_signal(signal.SIGCONT)
    (own, trials), (others, same) = _result(asleep), _result(other)
    assert "Trial 1 was taken up by another worker; it is not continued here." in asleep.err.read_text()
    assert 1 not in own
    assert sorted(own + others) == [1, 2, 3, 4, 5]
    assert trials == same
    _check_that_each_trial_counts_once(tmp_path / name, 5)


@needs_kill
def test_c12_a_killed_search_on_a_journal_gives_the_same_result(found, start, tmp_path):
    killed = start("search.journal", trials=9, slow=(0.0, 0.0, 1000.0))
    _wait_for_start(killed, 3)
    killed.kill()
    killed.wait()
    with (tmp_path / "search.journal").open("a") as stream:
        stream.write('{"op_code":4,"worker_id"')  # a line that was cut off
    assert small_search(storage=tmp_path / "search.journal", trials=9).trials == found.trials


def test_c12_another_search_at_the_same_moment_is_told(tmp_path):
    path = tmp_path / "search.journal"

    def other(number, trial):
        if number == 1:
            opened = storage.open_storage(optuna, path)
            study = optuna.load_study(study_name=workers.STUDY, storage=opened)
            study.set_user_attr("settings", {**study.user_attrs["settings"], "epochs": 99})

    with pytest.raises(fs.HyperparameterError, match="different epochs;"):
        small_search(storage=path, trials=3, report=other)


def test_c12_the_url_of_a_database_is_a_storage(found, tmp_path):
    url = f"sqlite:///{tmp_path}/search.db"
    assert small_search(storage=url, trials=3).trials == found.trials[:3]
    assert small_search(storage=tmp_path / "search.db", trials=3).trials == found.trials[:3]


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("postgresql+nothing://me:secret@host/name", fs.OutputPathError, "nothing://me:.*@host/name"),
        ("nosuchsql://me:secret@host/name", fs.OutputPathError, "nosuchsql"),
        ("mysql+oursql_missing://me:secret@host:x/name", fs.OutputPathError, "cannot be used"),
        ("sqlite:////no/such/folder/search.db", fs.OutputPathError, "unable to open"),
    ],
)
def test_c12_urls_that_cannot_be_used_are_refused_without_showing_the_password(url, error, words, monkeypatch):
    monkeypatch.setattr(storage, "ATTEMPTS", 1)
    with pytest.raises(error, match=words) as caught:
        small_search(storage=url, trials=1)
    assert "secret" not in str(caught.value)


def test_c12_a_missing_driver_is_named(monkeypatch):
    def fail(*_, **__):
        try:
            import no_such_driver  # noqa: F401
        except ImportError as error:
            raise ImportError("Failed to import DB access module") from error

    monkeypatch.setattr(optuna.storages, "RDBStorage", fail)
    with pytest.raises(fs.MissingDependency, match=r"me:\*\*\*@host/name needs .*pip install no_such_driver$") as caught:
        small_search(storage="postgresql://me:secret@host/name", trials=1)
    assert "secret" not in str(caught.value)


def test_c12_storages_of_version_0_1_0_continue(found, tmp_path):
    path = tmp_path / "search.db"
    small_search(storage=path, trials=4)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM trial_user_attributes WHERE key IN ('slot', 'worker', 'beat')")
        connection.execute("INSERT INTO trials(number, study_id, state) VALUES (4, 1, 'RUNNING')")  # it was killed
    assert small_search(storage=path).trials == found.trials
    assert [trial.state for trial in _entries(path)].count(optuna.trial.TrialState.RUNNING) == 0


@pytest.mark.parametrize("name", ["{braces}.db", "with space.db", "per%20cent.db", "hash#.journal", "what?.journal", "ä.db"])
def test_c12_names_of_files(name, found, tmp_path, caplog):
    caplog.set_level("INFO", "fusedstep.search")
    for trials in (1, 2):
        assert small_search(storage=tmp_path / name, trials=trials).trials == found.trials[:trials]
    assert caplog.messages == [f"Resuming after the 1 finished trials in {tmp_path / name}."]
    assert (tmp_path / name).is_file()


@pytest.mark.parametrize("name", ["x" * 300, "nul\0.db", "folder.journal", "no/where.journal", "there.journal", 5, b"x.db"])
def test_c12_what_cannot_be_a_storage_is_refused(name, tmp_path):
    (tmp_path / "folder.journal").mkdir()
    (tmp_path / "there.journal").write_text('{"no": "journal"}\n')
    with pytest.raises(fs.OutputPathError, match=r"SQLite file or a journal.*search\.db"):
        small_search(storage=str(tmp_path / name) if isinstance(name, str) else name, trials=1)
    assert (tmp_path / "there.journal").read_text() == '{"no": "journal"}\n'


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The bytes of each kind of storage after three trials."""
    folder = tmp_path_factory.mktemp("stored")
    for name in STORAGES:
        small_search(storage=folder / name, trials=3)
    return {name: (folder / name).read_bytes() for name in STORAGES}


SQL = {
    "text that is no JSON": "UPDATE trial_user_attributes SET value_json = '{' WHERE key = 'candidate'",
    "text that is no UTF-8": "UPDATE trial_user_attributes SET value_json = CAST(x'22ff22' AS TEXT) WHERE key = 'candidate'",
    "no value": "DELETE FROM trial_user_attributes WHERE key = 'value'",
    "a list as value": "UPDATE trial_user_attributes SET value_json = '[]' WHERE key = 'value'",
    "no epochs": "UPDATE trial_user_attributes SET value_json = 'null' WHERE key = 'epochs'",
    "a negative slot": "UPDATE trial_user_attributes SET value_json = '-1' WHERE key = 'slot'",
    "text as slot": """UPDATE trial_user_attributes SET value_json = '"one"' WHERE key = 'slot'""",
    "another candidate": """UPDATE trial_user_attributes SET value_json = '{"hidden": []}' WHERE key = 'candidate'""",
    "text as rate": """UPDATE trial_user_attributes SET value_json = replace(value_json, '"lr": ', '"lr": "much", "":')
                       WHERE key = 'candidate'""",
    "no settings": "DELETE FROM study_user_attributes",
    "settings that are no table": "UPDATE study_user_attributes SET value_json = '7'",
    "an unknown state": "UPDATE trials SET state = 'SOMEHOW'",
    "distributions that are none": "UPDATE trial_params SET distribution_json = '{}'",
    "no table of trials": "DROP TABLE trials",
    "another schema": "UPDATE alembic_version SET version_num = 'v99'",
}  # fmt: skip


@pytest.mark.parametrize("damage", SQL)
def test_c12_a_damaged_database_has_a_typed_error(damage, stored, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "ATTEMPTS", 1)
    path = tmp_path / "search.db"
    path.write_bytes(stored["search.db"])
    connection = sqlite3.connect(path)
    with connection:
        assert connection.execute(SQL[damage]).rowcount != 0
    connection.close()
    with pytest.raises(fs.OutputPathError, match=r"search\.db' cannot be used \("):
        small_search(storage=path, trials=4)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{]", "JSONDecodeError"), (b"\xff\xfe", "UnicodeDecodeError"), (b"{}", "op_code"), (b"[1]", "TypeError"),
        (b"7", "TypeError"),
        (b'{"op_code": 77}', "AssertionError"), (b'{"op_code": 4}', "KeyError"), (b'{"op_code": "x"}', "AssertionError"),
        (b"[" * 100_000, "RecursionError|JSONDecodeError"),
    ],
)  # fmt: skip
def test_c12_a_damaged_journal_has_a_typed_error(line, words, stored, tmp_path):
    path = tmp_path / "search.journal"
    lines = stored["search.journal"].splitlines()
    path.write_bytes(b"\n".join([*lines[:10], line, *lines[10:], b""]))
    with pytest.raises(fs.OutputPathError, match=words):
        small_search(storage=path, trials=4)


@pytest.mark.parametrize("name", STORAGES)
def test_c12_random_damage_raises_only_typed_errors(name, stored, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "ATTEMPTS", 1)
    monkeypatch.setattr(liveness, "GRACE", 0.5)
    generator = random.Random(11)
    refused = 0
    for number in range(40):
        data = bytearray(stored[name])
        for _ in range(generator.choice((1, 10, 100))):
            data[generator.randrange(16, len(data))] = generator.randrange(256)
        if number % 4 == 0:
            del data[generator.randrange(len(data)) :]
        path = tmp_path / f"{number}-{name}"
        path.write_bytes(data)
        try:
            result = small_search(storage=path, trials=3, epochs=6)
        except fs.FusedstepError:
            refused += 1
        else:
            assert len(result.trials) == 3
            str(result)
    assert refused > 5


def test_c12_the_best_trial_never_is_one_that_diverged():
    candidate = fs.Candidate((), "relu", 0.0, "SGD", 0.1, 0.0, 32, "constant")
    trials = (
        SearchTrial(candidate, np.inf, 1, "diverged"),
        SearchTrial(candidate, 0.5, 2, "pruned"),
        SearchTrial(candidate, 0.7, 4, "complete"),
    )
    assert fs.SearchResult(trials).best_value == 0.7
    assert fs.SearchResult(trials[:2]).best_value == 0.5
    with pytest.raises(fs.NonFiniteLossError, match="all 1 diverged; search smaller learning rates"):
        fs.SearchResult(trials[:1]).best  # noqa: B018


@pytest.mark.parametrize("worst", [np.nan, np.inf])
def test_c12_one_validation_loss_that_is_not_finite_is_divergence(worst, monkeypatch):
    fit = fs.Trainer.fit

    def late(trainer, *arguments, **options):
        (seen,) = [callback for callback in trainer.callbacks if hasattr(callback, "pruned")]
        report = seen.on_epoch_end
        seen.on_epoch_end = lambda trainer, row: report(
            trainer, {**row, "val_loss": worst if len(seen.values) == 4 else row["val_loss"]}
        )
        return fit(trainer, *arguments, **options)

    monkeypatch.setattr(fs.Trainer, "fit", late)
    result = small_search(trials=2)
    assert [trial.state for trial in result.trials] == ["diverged"] * 2
    with pytest.raises(fs.NonFiniteLossError):
        result.best  # noqa: B018


def test_c12_processes_of_this_machine_are_known():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    here = liveness.this_worker()
    other = [here[0], process.pid, liveness._started(process.pid), "x"]
    assert liveness.is_alive(here) is True
    assert liveness.is_alive(other) is (True if os.name == "posix" else None)
    if liveness._started(process.pid):
        assert liveness.is_alive([here[0], process.pid, "1", "x"]) is False  # a number that was given to another process
    process.communicate(b"\n")
    assert liveness.is_alive(other) is (False if os.name == "posix" else None)
    for unknown in (["elsewhere", *here[1:]], None, [], ["x"] * 4, {}):
        assert liveness.is_alive(unknown) is None


def test_c12_a_watch_waits_for_those_that_were_there_first(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    away = ["elsewhere", 1, "", "x"]
    watch = liveness.WorkerWatch()
    watch.look({"first": (away, 1), "second": (away, 1)})
    assert watch.is_dead("first", away) is None
    now[0] = 5.0
    watch.look({"first": (away, 2), "second": (away, 1), "new": (away, 0)})
    assert watch.is_dead("first", away) is False
    assert watch.is_dead("second", away) is None
    assert watch.is_dead("new", away) is False
    now[0] = liveness.GRACE + 1.0
    watch.look({"first": (away, 2), "second": (away, 1), "new": (away, 0)})
    assert [watch.is_dead(name, away) for name in ("first", "second", "new")] == [False, True, False]


def test_c12_ctrl_c_waits_until_a_storage_is_left(tmp_path):
    """An exception in the middle of a transaction would leave it open, and the next one would wait for it."""
    done = []

    def interrupted(times):
        with storage.undisturbed():
            with storage.storage_errors("search.db"):
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
                done.append("inner")
            done.append("outer")

    with pytest.raises(KeyboardInterrupt):
        interrupted(1)
    assert done == ["inner", "outer"]
    with pytest.raises(KeyboardInterrupt):
        interrupted(3)  # each of the two contexts notes one
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_c12_a_trial_that_ctrl_c_found_in_the_storage_is_given_back(tmp_path, monkeypatch):
    take = workers.SharedTrials._take

    def interrupted(self, slot, trials):
        if slot == 1:
            signal.raise_signal(signal.SIGINT)
        return take(self, slot, trials)

    monkeypatch.setattr(workers.SharedTrials, "_take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        small_search(storage=tmp_path / "search.db", trials=3)
    assert [trial.state.name for trial in _entries(tmp_path / "search.db")] == ["COMPLETE", "FAIL"]
