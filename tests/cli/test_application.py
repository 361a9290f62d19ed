"""The application as a newcomer meets it: help, version, the table of backends, and the real console script."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
from importlib import metadata

import pytest

import fusedstep as fs
from fusedstep.backends import selection
from fusedstep.backends.contract import Unavailable
from fusedstep.kernels.targets import gemm_choices

MAIN = [sys.executable, "-c", "from fusedstep.framework.cli import main; main()"]


def shell(*arguments, cwd, **environment):
    inherited = {key: value for key, value in os.environ.items() if key != "FUSEDSTEP_BACKEND"}
    return subprocess.run(
        [*MAIN, *arguments], cwd=cwd, env={**inherited, **environment}, capture_output=True, text=True, timeout=120,
        check=False, encoding=environment.get("PYTHONIOENCODING", "utf-8"),
    )  # fmt: skip


def test_version(call):
    assert call("--version").out == f"fusedstep {fs.__version__}\n"


def test_help_names_the_commands_and_where_to_start(call):
    answer = call("--help")
    assert answer.code == 0
    for words in ("backends", "train", "predict", "compare", "fusedstep train digits", "FUSEDSTEP_BACKEND"):
        assert words in answer.flat
    assert call("-h").out == answer.out


@pytest.mark.parametrize("command", ["backends", "train", "predict", "compare"])
def test_every_command_has_help(call, command):
    answer = call(command, "--help")
    assert answer.code == 0
    assert "Usage" in answer.out
    assert "--debug" in answer.out


@pytest.mark.parametrize(("machine", "installed", "said"), [("x86_64", False, 1), ("x86_64", True, 0), ("arm64", False, 0)])
def test_who_lacks_mkl_is_told_of_it(call, monkeypatch, machine, installed, said):
    def version(name):
        if name == "mkl" and not installed:
            raise metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert call("backends", "--backend", "numpy").flat.count('pip install "mkl>=') == said


def test_which_library_multiplies_is_shown_with_what_was_measured(call, monkeypatch):
    assert "BLAS library" in call("backends", "--backend", "numpy").flat
    saved = {"float32 NN 64x128x64": "mkl", "float32 NT 64x128x10": "numpy", "float32 TN 64x128x64": "mkl"}
    for choices, said in ((saved, True), ({}, False)):
        monkeypatch.setattr(gemm_choices, "saved_blas_choices", lambda choices=choices: choices)
        answer = call("backends", "--backend", "numba").flat
        assert ("by measurement: mkl for 2 products, numpy for 1." in answer) == said
        assert "by measurement" not in call("backends", "--backend", "numpy").flat


def test_the_table_of_backends(call, monkeypatch):
    problem = Unavailable("no device (none at all)", "buy one")
    monkeypatch.setattr(selection, "why_not", lambda name: problem if name in ("cupy", "cuda") else None)
    selection._automatic.cache_clear()
    try:
        answer = call("backends")
        assert answer.code == 0
        for words in ("numpy", "numba", "no device (none at all)", "buy one",
                      "In use now: numba (auto; not cuda or cupy: no device)"):  # fmt: skip
            assert words in answer.flat
        assert answer.err == "", "why auto fell back is said once, on stdout"
        missing = problem._replace(expected=False)
        with monkeypatch.context() as context:
            context.setattr(selection, "why_not", lambda name: missing if name in ("cupy", "cuda") else None)
            assert "In use now: numba (auto)" in call("backends").flat
        assert "In use now: numpy (set by --backend)" in call("backends", "--backend", "numpy").flat
        monkeypatch.setenv("FUSEDSTEP_BACKEND", "numpy")
        assert "In use now: numpy (set by FUSEDSTEP_BACKEND=numpy)" in call("backends").flat
        assert "auto; not cuda or cupy" in call("backends", "--backend", "auto").flat
        monkeypatch.setenv("FUSEDSTEP_BACKEND", "abacus")
        answer = call("backends")
        assert answer.code == 2
        assert "numba" in answer.out, "the table helps to mend it"
        assert answer.err.startswith("error: ")
    finally:
        selection._automatic.cache_clear()


def test_a_whole_session_in_a_shell(tmp_path):
    trained = shell("train", "iris", "--epochs", "5", cwd=tmp_path, FUSEDSTEP_BACKEND="numpy")
    assert (trained.returncode, trained.stderr) == (0, "")
    assert "set by FUSEDSTEP_BACKEND=numpy" in trained.stdout
    predicted = shell("predict", "iris.safetensors", "iris", "-o", "iris.csv", cwd=tmp_path)
    assert predicted.returncode == 0
    assert len((tmp_path / "iris.csv").read_text().splitlines()) == 151
    failed = shell("train", "nothing.csv", "--target", "y", cwd=tmp_path)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: expected a data file, 'nothing.csv' does not exist")
    assert failed.stderr.count("\n") == 1


def test_the_package_runs_as_a_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "fusedstep", "--version"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"fusedstep {fs.__version__}\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("arguments", [("train", "iris", "--backend", "numpy", "--epochs", "1"), ("train", "--help")])
def test_output_in_an_encoding_without_arrows_and_bullets(tmp_path, encoding, arguments):
    done = shell(*arguments, cwd=tmp_path, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")
    if arguments[-1] != "--help":
        assert ("embedded, 32 \u2192 " if encoding == "utf-8" else "embedded, 32 ? ") in done.stdout
        assert os.listdir(tmp_path) == ["iris.safetensors"]


def test_no_argument_shows_the_help(call):
    answer = call()
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == call("--help").out


@pytest.mark.skipif(os.name != "posix", reason="other systems keep a folder that is in use")
def test_a_working_folder_that_was_removed(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    code = f"import os; os.rmdir({str(folder)!r}); from fusedstep.framework.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "iris"], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: expected a working folder that exists; it was removed")
    assert done.stderr.count("\n") == 1


HEARING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background of a shell would pass on that it is ignored
"""
LISTENING = """
from fusedstep.framework.training.stopping import StopOnInterrupt
real = StopOnInterrupt.on_fit_begin
def begin(self, trainer):
    real(self, trainer)
    print("listening", flush=True)
StopOnInterrupt.on_fit_begin = begin
from fusedstep.framework.cli import main
main()
"""


def interrupted(folder, signals, until="listening", patience="0", out="digits.safetensors"):
    """(exit status, output, errors) of a training that gets SIGINT once a line of its output begins with those letters."""
    arguments = ["train", "digits", "--backend", "numpy", "--epochs", "100000", "--patience", patience, "--out", out]
    with subprocess.Popen(
        [sys.executable, "-c", HEARING + LISTENING, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, encoding="utf-8",
    ) as process:
        for line in process.stdout:
            if line.startswith(until):
                break
        for _ in range(signals):
            process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, out, err


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("patience", ["0", "1000"])
def test_interrupting_a_training_keeps_what_was_learned(tmp_path, call, patience):
    code, out, err = interrupted(tmp_path, 1, patience=patience)
    assert code == 130
    assert re.search(r"^note: stopped from the keyboard after \d+ of 100000 epochs.* in digits.safetensors$", err, re.MULTILINE)
    assert "digits.safetensors" in out
    assert [path.name for path in tmp_path.iterdir()] == ["digits.safetensors"]
    assert call("predict", tmp_path / "digits.safetensors", "digits", "-o", tmp_path / "answers.csv").code == 0


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_interrupting_a_training_leaves_an_older_file_alone(tmp_path):
    older = tmp_path / "digits.safetensors"
    older.write_bytes(b"older")
    code, _, err = interrupted(tmp_path, 1)
    assert (code, older.read_bytes()) == (130, b"older")
    assert "digits-interrupted.safetensors" in err
    assert (tmp_path / "digits-interrupted.safetensors").stat().st_size > 1000


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("stem", ["n" * 243, "n" * 235, "\u6a21" * 81], ids=["255-bytes", "247-bytes", "not-ASCII"])
def test_interrupting_a_training_keeps_what_was_learned_where_a_longer_name_does_not_fit(tmp_path, call, stem):
    older = tmp_path / f"{stem}.safetensors"
    older.write_bytes(b"older")
    code, _, err = interrupted(tmp_path, 1, out=older.name)
    assert (code, older.read_bytes()) == (130, b"older")
    (written,) = set(tmp_path.iterdir()) - {older}
    assert written.name.startswith(stem[:70])
    assert written.name.endswith("-interrupted.safetensors")
    assert f"the model trained so far is in {written.name}" in err
    assert call("predict", written, "digits", "-o", tmp_path / "answers.csv").code == 0


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_interrupting_before_anything_was_learned(tmp_path):
    code = HEARING + """
import os
from fusedstep.framework.cli import main, training
training.prepare = lambda *_: os.kill(os.getpid(), signal.SIGINT)
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "digits"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: stopped from the keyboard; no file was written")
    assert done.stderr.count("\n") == 1
