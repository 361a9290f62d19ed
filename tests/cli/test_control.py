"""Schedules, stopping and searches from the command line: `train --schedule`, `find-lr`, `search`."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.framework.export.persistence import load_with_metadata

QUICK = ("--backend", "numpy", "--epochs", "4")


def test_c10_a_schedule_reaches_the_training_and_the_notes_of_the_file(call, tmp_path):
    answer = call("train", "wine", "--schedule", "step:factor=0.1,every=2", "--lr", "0.01", "-o", "a.safetensors", *QUICK)
    assert answer.code == 0, answer
    assert "AdamW at 0.01 (schedule step:factor=0.1,every=2, 0.001 at the end)" in answer.flat
    model, metadata = load_with_metadata(tmp_path / "a.safetensors")
    training = metadata.notes["training"]
    assert (training["schedule"], training["lr"], training["max_steps"]) == ("step:factor=0.1,every=2", 0.01, None)
    call("train", "wine", "--lr", "0.01", "--schedule", "constant", "-o", "b.safetensors", *QUICK)
    other, metadata = load_with_metadata(tmp_path / "b.safetensors")
    assert metadata.notes["training"]["schedule"] == "constant"
    assert not np.array_equal(model.parameters()["0.Linear.weight"], other.parameters()["0.Linear.weight"])


def test_c10_default_settings_need_not_be_written(call, tmp_path):
    for name, text in (("a", "step"), ("b", "step:factor=0.5,every=5"), ("c", "Step: every=5")):
        assert call("train", "iris", "--schedule", text, "-o", f"{name}.safetensors", *QUICK).code == 0
    notes = [load_with_metadata(tmp_path / f"{name}.safetensors")[1].notes["training"]["schedule"] for name in "abc"]
    assert notes == ["step"] * 3


def test_c13_steps_and_patience(call, tmp_path):
    answer = call("train", "wine", "--max-steps", "7", "--early-stopping", "3", "--batch-size", "50", "-o", "a.safetensors")
    assert answer.code == 0, answer
    notes = load_with_metadata(tmp_path / "a.safetensors")[1].notes["training"]
    assert (notes["epochs"], notes["max_steps"]) == (3, 7)
    answer = call("train", "wine", "--early-stopping", "2", "--lr", "0.05", "-o", "b.safetensors")
    notes = load_with_metadata(tmp_path / "b.safetensors")[1].notes["training"]
    assert notes["best_epoch"] == notes["epochs"] - 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--schedule", "stp:every=5"), "--schedule: expected one of the schedules constant, step,"),
        (("--schedule", "stp:every=5"), "did you mean 'step'"),
        (("--schedule", "step:evry=5"), "did you mean 'every'"),
        (("--schedule", "step:every=0"), "every to be a whole number >= 1"),
        (("--schedule", "step:factor=-1"), "factor in (0, 1)"),
        (("--schedule", "exponential:k=-1"), "k in (0, inf)"),
        (("--schedule", ""), "--schedule"),
        (("--max-steps", "0"), "--max-steps: expected a whole number >= 1; got 0"),
        (("--validation-share", "0", "--early-stopping", "5"), "--patience: expected a validation part"),
        (("--validation-share", "0", "--schedule", "plateau"), "--schedule: expected a validation part"),
        (("--find-lr", "--lr", "0.1"), "--find-lr: expected no --lr"),
    ],
)
def test_c10_impossible_control_is_refused(refused, options, words):
    assert words in refused("train", "iris", "--backend", "numpy", *options)


def test_b11_patience_with_too_few_rows_to_validate_is_refused(refused, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "few.npz", x=rng.standard_normal((40, 3)), y=np.arange(40) % 2)
    for option in (("--patience", "3"), ("--schedule", "halve-on-worse")):
        assert "40 rows are too few" in refused("train", "few.npz", "--backend", "numpy", *option)


def test_c11_find_lr_prints_a_table_a_suggestion_and_a_picture(call, tmp_path):
    answer = call("find-lr", "wine", "--backend", "numpy", "--epochs", "2", "--optimizer", "sgd", "--plot", "rates.png")
    assert answer.code == 0, answer
    for word in ("wine: 178 rows", "0.0001", "decades", "finer", "rate for SGD:", "after 2 epochs", "Figure: rates.png"):
        assert word in answer.flat
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
    rate = float(answer.flat.partition("--lr ")[2])
    assert 1e-3 < rate < 10


def test_c11_find_lr_by_a_sweep(call):
    answer = call("find-lr", "wine", "--backend", "numpy", "--sweep")
    assert answer.code == 0, answer
    assert "Minibatches:" in answer.flat
    assert 1e-4 < float(answer.flat.partition("--lr ")[2]) < 1


def test_c11_train_with_a_rate_that_was_looked_for(call, tmp_path):
    answer = call("train", "wine", "--find-lr", *QUICK)
    assert answer.code == 0, answer
    found = call("find-lr", "wine", "--backend", "numpy").flat.partition("--lr ")[2]
    assert load_with_metadata(tmp_path / "wine.safetensors")[1].notes["training"]["lr"] == float(found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--epochs", "0"), "--epochs"),
        (("--plot", "missing/rates.png"), "folder that exists"),
        (("--plot", "rates.txt"), "to end in .png, .svg, .pdf"),
        (("--optimizer", "adamm"), "did you mean 'Adam'"),
        (("--batch-size", "0"), "--batch-size"),
        (("--hidden", "wide"), "--hidden"),
    ],
)
def test_c11_impossible_searches_are_refused(refused, options, words):
    assert words in refused("find-lr", "iris", "--backend", "numpy", *options)


def test_c12_search_goes_on_from_its_storage_and_prints_a_command_that_works(call, tmp_path):
    pytest.importorskip("optuna")
    small = ("--epochs", "3", "--width", "4-8", "--layers", "1", "--batch-sizes", "32", "--optimizers", "adam,nesterov",
             "--schedules", "constant step:every=2", "--backend", "numpy", "--storage", "search.db")  # fmt: skip
    first = call("search", "wine", "--trials", "3", *small)
    assert first.code == 0, first
    assert "3. validation loss" in first.flat
    assert "Best of 3:" in first.flat
    second = call("search", "wine", "--trials", "5", *small)
    assert "4. validation loss" in second.flat
    assert " 3. validation loss" not in second.flat
    assert "Resuming after the 3 finished trials in search.db." in second.flat
    third = call("search", "wine", "--trials", "5", *small)
    assert "All trials were in search.db already; increase --trials to add more. Best of 5:" in third.flat
    command = shlex.split(second.out.rstrip().splitlines()[-1].removeprefix("Train it: fusedstep "))
    answer = call(*command, "--backend", "numpy", "-o", "best.safetensors")
    assert answer.code == 0, answer
    notes = load_with_metadata(tmp_path / "best.safetensors")[1].notes
    best = float(second.flat.partition("Best of 5: validation loss ")[2].partition(":")[0])
    assert notes["results"]["validation"]["loss"] == pytest.approx(best, rel=0.01)


def test_c11_and_c12_of_ensembles(call):
    answer = call("find-lr", "iris", "--ensemble", "3", "--sweep", "--hidden", "8")
    assert answer.code == 0, answer
    answer = call(
        "search", "iris", "--ensemble", "3", "--trials", "1", "--epochs", "2", "--layers", "1-1", "--width", "8-8"
    )
    assert answer.code == 0, answer
    command = answer.flat.rpartition("Train it: fusedstep ")[2].split()
    assert command[command.index("--ensemble") + 1] == "3"
    for name in ("find-lr", "search"):
        answer = call(name, "iris", "--ensemble", "0")
        assert (answer.code, "--ensemble" in answer.err, ">= 1" in answer.err) == (2, True, True), answer


@pytest.mark.parametrize("storage", ["search.db", pytest.param("search.journal", marks=pytest.mark.exhaustive)])
def test_c12_two_workers_share_a_search(storage, tmp_path):
    pytest.importorskip("optuna")
    command = (sys.executable, "-P", "-m", "fusedstep", "search", "wine", "--trials", "6", "--epochs", "3", "--width", "4-8",
               "--backend", "numpy", "--storage", storage)  # fmt: skip
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    pair = [subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) for _ in range(2)]
    outputs = [worker.communicate(timeout=300) for worker in pair]
    assert [worker.returncode for worker in pair] == [0, 0], outputs
    trials = [re.findall(r"^ *(\d+)\. validation loss", out, re.MULTILINE) for out, _ in outputs]
    assert sorted(trials[0] + trials[1]) == list("123456")
    first, second = (out[out.index("Best of 6:") :] for out, _ in outputs)
    assert first == second


def test_c12_one_command_starts_two_workers_and_prints_one_result(tmp_path):
    pytest.importorskip("optuna")
    command = (sys.executable, "-P", "-m", "fusedstep", "search", "wine", "--trials", "4", "--epochs", "2", "--width", "4-8",
               "--backend", "numpy", "--storage", "search.db", "--workers", "2")  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(re.findall(r"^ *(\d+)\. validation loss", done.stdout, re.MULTILINE)) == list("1234")
    assert done.stdout.count("Best of 4:") == done.stdout.count("Train it: fusedstep train") == 1
    again = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, check=True).stdout
    assert "All trials were in search.db already; increase --trials to add more.\nBest of 4:" in again


def test_c12_a_password_in_the_url_of_a_storage_is_not_shown(refused):
    pytest.importorskip("optuna")
    message = refused("search", "iris", "--backend", "numpy", "--storage", "nosuchsql://me:secret@host/name")
    assert "nosuchsql://me:***@host/name" in message
    assert "secret" not in message


def test_c12_a_search_stopped_from_the_keyboard_says_that_it_can_go_on(call, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    from fusedstep.framework.search import running

    train, seen = running._train, []

    def interrupted(*arguments):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(train(*arguments))

    monkeypatch.setattr(running, "_train", interrupted)
    arguments = ("search", "iris", "--trials", "3", "--epochs", "2", "--backend", "numpy", "--storage", "search.db")
    answer = call(*arguments)
    assert answer.code == 2
    assert "Stopped. The finished trials are in search.db; run the same command to resume." in answer.flat
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    again = call(*arguments)
    assert again.code == 0
    assert "3. validation loss" in again.flat
    assert " 2. validation loss" not in again.flat


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--trials", "0"), "--trials"),
        (("--epochs", "0"), "--epochs"),
        (("--layers", "some"), '--layers: expected whole numbers such as "1-3"'),
        (("--layers", "3-1"), "swap them"),
        (("--batch-sizes", "0"), "batch_size"),
        (("--optimizers", "adamm"), "did you mean 'Adam'"),
        (("--schedules", "cosin"), "did you mean 'cosine'"),
        (("--storage", "missing/search.db"), "folder that exists"),
        (("--workers", "0"), "--workers"),
        (("--workers", "2"), "that 2 workers can share; got None"),
    ],
)
def test_c12_impossible_searches_are_refused(refused, options, words):
    pytest.importorskip("optuna")
    assert words in refused("search", "iris", "--backend", "numpy", *options)


def test_c12_a_set_too_small_to_validate_is_refused(refused, tmp_path):
    pytest.importorskip("optuna")
    np.savez(tmp_path / "few.npz", x=np.random.default_rng(0).standard_normal((40, 3)), y=np.arange(40) % 2)
    assert "40 rows are too few" in refused("search", "few.npz", "--backend", "numpy")


def test_the_package_knows_what_the_command_line_uses():
    assert {"find_learning_rate", "sweep_learning_rate", "search", "StepDecay"} <= set(fs.__all__)
