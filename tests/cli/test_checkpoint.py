"""`--checkpoint` of `fusedstep train` and `search`: ended at any moment, resumed, and the same result at the end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from safetensors.numpy import load_file

TRAIN = ["train", "digits", "--epochs", "6", "--patience", "0", "--schedule", "one-cycle", "--backend", "numpy"]
FOLDER = ["--checkpoint", "runs", "--checkpoint-every", "10"]


def started(folder, *arguments):
    command = [sys.executable, "-P", "-m", "fusedstep", *arguments]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def weights(path):
    return {name: values.tobytes() for name, values in load_file(path).items()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Runs a command, once, where nothing ends it: its folder and its output."""
    done = {}

    def run(*arguments):
        if arguments not in done:
            folder = tmp_path_factory.mktemp("uninterrupted")
            process = started(folder, *arguments)
            out, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
            done[arguments] = folder, out
        return done[arguments]

    return run


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_ended_by_a_signal_and_resumed(number, uninterrupted, tmp_path):
    whole, _ = uninterrupted(*TRAIN, "-o", "whole.safetensors")
    process = started(tmp_path, *TRAIN, *FOLDER, "-o", "part.safetensors")
    while not list((tmp_path / "runs").glob("step-*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -9
    else:
        assert process.returncode == 143
        assert "note: ended by a signal; a checkpoint is in runs; --resume goes on from there" in err
    assert not (tmp_path / "part.safetensors").exists()
    # In a process too, which has as many threads of OpenBLAS as the others.
    resumed = started(tmp_path, *TRAIN, *FOLDER, "--resume", "-o", "part.safetensors")
    _, err = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, err
    assert weights(tmp_path / "part.safetensors") == weights(whole / "whole.safetensors")


def test_resume_after_a_search_of_the_rate(call, tmp_path):
    """With a rate that does not depend on the number of epochs, which is another one at first."""
    same = ["train", "iris", "--find-lr", "--schedule", "constant", "--backend", "numpy"]
    start = [*same, "--checkpoint", "runs"]
    assert call(*start, "--epochs", "3").code == 0
    answer = call(*start, "--epochs", "5", "--resume")
    assert answer.code == 0
    assert call(*same, "--epochs", "5", "-o", "whole.safetensors").code == 0
    assert weights("iris.safetensors") == weights("whole.safetensors")


def test_refusals(call, refused, tmp_path):
    assert "--resume: expected a folder for checkpoints" in refused("train", "iris", "--resume")
    assert "--checkpoint-every: expected a folder" in refused("train", "iris", "--checkpoint-every", "5")
    assert "--checkpoint-every to be a whole number" in refused("train", "iris", "--checkpoint", "r", "--checkpoint-every", "0")
    assert call("train", "iris", "--checkpoint", "runs", "--epochs", "2").code == 0
    assert "(--resume) to continue" in refused("train", "iris", "--checkpoint", "runs", "--epochs", "2")
    assert "expected the settings of the training" in refused("train", "wine", "--checkpoint", "runs", "--resume")


@pytest.mark.parametrize("name", ["n" * 300, "deep/" * 1000 + "m", "iris.csv"])
def test_names_that_no_folder_can_have(refused, tmp_path, name):
    (tmp_path / "iris.csv").touch()
    for options in ((), ("--resume",)):
        assert "a folder that can be written, for checkpoints" in refused("train", "iris", "--checkpoint", name, *options)


def test_other_data_and_damage(call, refused, tmp_path):
    assert call("train", "iris", "--checkpoint", "runs", "--epochs", "3").code == 0
    given = ["train", "iris", "--checkpoint", "runs", "--resume"]
    assert re.search("expected the settings .* optimizer.lr", refused(*given, "--lr", "1"))
    assert re.search("expected the data .* training.rows", refused(*given, "--test-share", "0.3"))
    newest = max((tmp_path / "runs").glob("step-*"))
    newest.write_bytes(newest.read_bytes()[:-1])
    answer = call("train", "iris", "--checkpoint", "runs", "--epochs", "3", "--resume")
    assert answer.code == 0
    assert f"{newest.name} is damaged and was skipped" in answer.err


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_search_ended_by_a_signal_and_resumed(number, call, uninterrupted, tmp_path):
    pytest.importorskip("optuna")
    search = ["search", "digits", "--trials", "3", "--epochs", "8", "--backend", "numpy"]
    _, whole = uninterrupted(*search)
    process = started(tmp_path, *search, *FOLDER)
    while not list((tmp_path / "runs").glob("trial-2/*/step-*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -9
    else:
        assert process.returncode == 143
        assert "note: ended by a signal; a checkpoint is in runs; --resume goes on from there" in err
    answer = call(*search, *FOLDER, "--resume")
    assert answer.code == 0, answer
    assert f"Resuming after the 1 finished trials in {os.path.join('runs', 'search.journal')}." in answer.flat
    lines = whole.splitlines()
    assert answer.out.splitlines()[-4:] == lines[-4:]  # trials 2 and 3, the best, and its command
    assert not list((tmp_path / "runs").glob("trial-*"))


def test_refusals_of_a_search(call, refused, tmp_path):
    pytest.importorskip("optuna")
    search = ["search", "iris", "--trials", "1", "--epochs", "1", "--backend", "numpy"]
    assert "--resume: expected a folder for checkpoints" in refused(*search, "--resume")
    assert "--checkpoint-every: expected a folder" in refused(*search, "--checkpoint-every", "5")
    assert "--checkpoint-every to be a whole number" in refused(*search, "--checkpoint", "r", "--checkpoint-every", "0")
    assert call(*search, "--checkpoint", "runs").code == 0
    assert "(--resume) to continue that search" in refused(*search, "--checkpoint", "runs")
    assert "All trials were in runs already" in call(*search, "--checkpoint", "runs", "--resume").flat


def test_a_search_stopped_from_the_keyboard_says_where_it_is(call, monkeypatch):
    pytest.importorskip("optuna")
    from fusedstep.framework.search import running

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "_train", interrupted)
    answer = call("search", "iris", "--trials", "1", "--backend", "numpy", "--checkpoint", "runs")
    assert answer.code == 2
    assert "The finished trials are in runs; run the same command with --resume to go on." in answer.flat
