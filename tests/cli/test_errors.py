"""What the command line refuses: one clear line, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from fusedstep.backends import selection
from fusedstep.backends.contract import Unavailable


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--lr", "0"), "lr in (0, inf); got 0.0"),
        (("--lr", "-1"), "lr in (0, inf)"),
        (("--lr", "nan"), "lr in (0, inf)"),
        (("--dropout", "1"), "--dropout: expected a fraction in [0, 1)"),
        (("--dropout", "-0.1"), "--dropout"),
        (("--weight-decay", "-1"), "weight_decay"),
        (("--clip-norm", "0"), "clip_norm"),
        (("--epochs", "0"), "--epochs: expected a whole number >= 1; got 0"),
        (("--batch-size", "0"), "--batch-size"),
        (("--patience", "-1"), "--patience"),
        (("--hidden", "64,"), "--hidden"),
        (("--hidden", "64,0"), "--hidden"),
        (("--hidden", "wide"), "got 'wide'"),
        (("--hidden", ""), "--hidden"),
        (("--hidden", "64,100000000000"), "--hidden: expected widths of at most 65,536; got 100,000,000,000"),
        (("--hidden", "10000000000000000000000"), "--hidden: expected widths of at most"),
        (("--hidden", "65000,65000"), "weights; got 4,227,275,000 (32 → 65000 → 65000 → 3)"),
        (("--activation", "rleu"), "did you mean 'relu'"),
        (("--optimizer", "adamm"), "did you mean 'Adam'"),
        (("--seed", "-1"), "seed"),
        (("--test-share", "1"), "test fraction"),
        (("--test-share", "0.6", "--validation-share", "0.5"), "below 1"),
        (("--validation-share", "-0.1"), "validation fraction"),
        (("--task", "regresion"), "did you mean 'regression'"),
        (("--backend", "numba", "--precision", "float16"), "expected a precision that backend"),
        (("--precision", "single"), "expected a precision out of"),
        (("--target", "colour"), "'colour'"),
        (("--labels", "labels.idx"), "IDX images file or an .npy file only"),
        (("--backend", "nunba"), "did you mean 'numba'"),
        (("--backend", ""), "expected the name of a backend; got an empty one"),
        (("--out", "missing/m.safetensors"), "folder that exists"),
        (("--out", "."), "is a folder"),
        (("--out", "/dev/null"), "device or pipe"),
    ],
)  # fmt: skip
def test_impossible_options(refused, options, words):
    backend = () if "--backend" in options else ("--backend", "numpy")
    assert words in refused("train", "iris", *backend, *options)


@pytest.mark.parametrize(
    ("command", "option", "right"),
    [
        ("train", "--learning-rate", "--lr"), ("train", "--device", "--backend"), ("train", "--n-ensemble", "--ensemble"),
        ("train", "--hidden_layer_sizes", "--hidden"), ("train", "--max-iter", "--epochs"),
        ("train", "--random-state", "--seed"), ("train", "--sample-weight", "--weight"),
        ("train", "--validation-split", "--validation-share"), ("train", "--label", "--target"),
        ("search", "--n-trials", "--trials"), ("find-lr", "--solver", "--optimizer"),
    ],
)  # fmt: skip
def test_options_of_other_libraries(refused, command, option, right):
    assert f"No such option: {option}; write {right}; see fusedstep {command} --help" in refused(command, "iris", option, "3")


def test_options_that_nobody_has_get_those_that_look_alike(refused):
    error = refused("train", "iris", "--micro-batches", "3")
    assert error.startswith("error: No such option: --micro-batches")
    assert "--micro-batch" in error.partition("--micro-batches")[2]
    assert "; write" not in refused("train", "iris", "--foo", "3")


@pytest.mark.parametrize(("value", "code"), [("nunba", 2), (" ", 0), ("", 0)])
def test_the_variable(call, monkeypatch, value, code):
    monkeypatch.setenv("FUSEDSTEP_BACKEND", value)
    answer = call("train", "iris", "--epochs", 1)
    assert answer.code == code
    assert ("did you mean 'numba'" in answer.err) == (code == 2)


def unavailable(monkeypatch):
    """Makes `cupy` a backend that cannot run, also where there is a GPU."""
    real = selection.why_not
    problem = Unavailable("no device (none at all)", "buy one", OSError("gone"))
    monkeypatch.setattr(selection, "why_not", lambda name: problem if name in ("cupy", "cuda") else real(name))


def test_an_unavailable_backend(refused, call, monkeypatch):
    unavailable(monkeypatch)
    for arguments in (("train", "iris"), ("predict", "m.safetensors", "iris"), ("backends",)):
        answer = call(*arguments, "--backend", "cupy")
        assert answer.code == 2
        assert answer.err.startswith("error: expected backend 'cupy' to work on this machine; no device (none at all); buy one")
    message = refused("compare", "numpy", "cuda")
    assert "expected backend 'cuda'" in message


def test_debug_shows_the_traceback_and_its_cause(call, monkeypatch):
    unavailable(monkeypatch)
    for arguments in (("train", "iris", "--backend", "cupy", "--debug"), ("--debug", "train", "iris", "--backend", "cupy")):
        answer = call(*arguments)
        assert answer.code == 2
        assert "Traceback" in answer.err
        assert "OSError: gone" in answer.err
        assert answer.err.splitlines()[-1].startswith("error: expected backend 'cupy'")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("ragged.csv", "a,y\n1,2\n1\n", "line 3: expected 2 cells, found 1"),
        ("none.csv", "", "the file is empty"),
        ("header.csv", "a,y\n", "expected data rows"),
        ("only.csv", "y\n1\n2\n", "found none"),
        ("inf.csv", "a,y\n" + "1,0\n2,1\n" * 20 + "inf,1\n", "the first in row 41"),
        ("lost.csv", "a,y\n" + "1,0.5\n2,1.5\n" * 20 + "2,\n", "target 'y': expected finite numbers"),
        ("blank.csv", "a,y\n" + "1,u\n2,v\n" * 20 + "2,\n", "a label in every row, found 1 empty, the first in row 41"),
        ("same.csv", "a,y\n" + "1,u\n2,u\n" * 20, "at least 2 classes"),
        ("two.csv", "a,y\n1,u\n2,v\n", "2 rows leave it empty; give 5 rows or more, two or more of each class, or"),
        ("one.csv", "a,y\n1,0\n", "1 row leaves it empty"),
        ("thousands.csv", "a;y\n" + "1.234,5;0\n2.345,5;1\n" * 20, "column 'a', row 1: expected numbers such as 1.5 or 1234.5"),
        ("binary.csv", b"a,y\n\xe9\0,1\n", "binary data"),
        ("twice.csv", "a,a,y\n1,2,3\n", "repeated"),
        ("short.npz", b"PK\x03\x04 not an archive", "NumPy archive"),
        ("short-images-idx3-ubyte", b"\0\0\x08\x03\0\0\0\x05\0\0\0\x02\0\0\0\x02\1\2", "truncated"),
        ("bad.idx", b"hello", "IDX"),
        ("bad.svm", "1 a:b\n", "svmlight"),
        ("bad.svmlight", "", "rows"),
        ("bad.parquet", b"PAR1 nothing", "arquet"),
        ("picture.png", b"\x89PNG", "expected a bundled set"),
    ],
)  # fmt: skip
def test_bad_data(refused, tmp_path, name, content, words):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    target = ("--target", "y") if name.endswith((".csv", ".parquet")) else ()
    message = refused("train", path, *target, "--backend", "numpy")
    assert words in message or words.replace("svmlight", "label index:value") in message


def test_text_for_a_regression(refused, people):
    assert "expected a numeric target" in refused("train", people, "--target", "answer", "--task", "regression")


def test_no_target_given(refused, people):
    assert "give --target (in Python target=) one of: age, city, code, answer" in refused("train", people)


def test_a_misspelt_target_or_source(refused, people):
    assert "did you mean 'answer'" in refused("train", people, "--target", "anser")
    assert "did you mean 'digits'" in refused("train", "digit")
    assert "did you mean 'people.csv'" in refused("train", "poeple.csv", "--target", "answer")


def test_a_truncated_archive(refused, archive):
    archive.write_bytes(archive.read_bytes()[:-100])
    assert "NumPy archive" in refused("train", archive)


def test_labels_that_do_not_fit_the_images(refused, images, tmp_path):
    import struct

    (tmp_path / "labels.idx").write_bytes(struct.pack(">BBBBI", 0, 0, 8, 1, 3) + b"\0\1\0")
    assert "expected 80 labels" in refused("train", images, "--labels", tmp_path / "labels.idx")


def test_pickled_arrays_are_not_opened(refused, tmp_path):
    np.savez(tmp_path / "evil.npz", x=np.array([[object()]]), y=[0])
    assert "without pickled objects" in refused("train", tmp_path / "evil.npz")


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_loss_that_explodes(refused, line, backend):
    message = refused("train", line, "--target", "price", "--lr", "1e30", "--optimizer", "sgd", "--backend", backend)
    assert "expected a finite loss" in message
    assert "step" in message


def test_the_data_is_never_overwritten(refused, people):
    before = people.read_bytes()
    assert "an output file other than the data" in refused("train", people, "--target", "answer", "--out", people)
    assert people.read_bytes() == before


@pytest.mark.parametrize(
    ("said", "words"),
    [((), "stopped from the keyboard; no file was written"), (("half is in x",), "the keyboard; half is in x")],
)
def test_stopped_from_the_keyboard(refused, monkeypatch, said, words):
    from fusedstep.framework.training.trainer import Trainer

    def stop(*_, **__):
        raise KeyboardInterrupt(*said)

    monkeypatch.setattr(Trainer, "fit", stop)
    assert words in refused("train", "iris")


def test_an_error_of_several_lines_is_one_line(refused, monkeypatch):
    import fusedstep as fs
    from fusedstep.framework.cli import training

    def fail(*_):
        raise fs.DataFileError("first\nsecond")

    monkeypatch.setattr(training, "prepare", fail)
    assert refused("train", "iris") == "error: first second\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train",), "source"),
        (("train", "iris", "--epochs", "many"), "--epochs"),
        (("train", "iris", "--lr"), "--lr"),
        (("train", "iris", "--colour", "red"), "--colour"),
        (("fly",), "fly"),
        (("compare", "numpy"), "backend_b"),
        (("predict", "m.safetensors"), "data"),
    ],
)
def test_wrong_usage(refused, arguments, words):
    message = refused(*arguments)
    assert words in message.lower()
    assert "--help" in message


@pytest.mark.parametrize("command", ["train", "predict", "find-lr", "search", "bench"])
@pytest.mark.parametrize("second", [("--backend", "numba"), ("--backend=numpy",)])
def test_an_option_of_one_value_is_given_once(refused, command, second):
    sources = ("m.safetensors", "d.csv") if command == "predict" else () if command == "bench" else ("iris",)
    if command == "bench":
        second = tuple(word.replace("backend", "seconds").replace("numba", "1").replace("numpy", "2") for word in second)
    option = second[0].split("=")[0]
    message = refused(command, *sources, option, "numpy" if option == "--backend" else "1", *second)
    assert message == f"error: {option}: expected one value, got 2; give the option once\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("Unable to allocate 3 TiB"), "fit in memory; they do not (Unable to allocate 3 TiB)"),
        (MemoryError(), "fit in memory; they do not; use"),
        (PermissionError(13, "Permission denied", "secret.csv"), "secret.csv: expected to read or write"),
        (OSError("no reason"), "the system refused (no reason)"),
    ],
)  # fmt: skip
def test_what_the_system_refuses(refused, call, monkeypatch, error, words):
    from fusedstep.framework.cli import training

    def fail(*_):
        raise error

    monkeypatch.setattr(training, "prepare", fail)
    assert words in refused("train", "iris")
    assert "Traceback" in call("train", "iris", "--debug").err


def test_wrong_usage_with_debug(call):
    answer = call("--debug", "train", "iris", "--epochs", "many")
    assert answer.code == 2
    assert "Traceback" in answer.err
    assert answer.err.splitlines()[-1].startswith("error: ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_not_a_regular_file(refused, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert "pipe, socket or device and not a regular file" in refused("train", "pipe.csv", "--target", "y")
    assert "device or pipe" in refused("predict", "pipe.csv", "iris")
    (tmp_path / "link.csv").symlink_to("nowhere.csv")
    assert "is a link to a file that does not exist" in refused("train", "link.csv", "--target", "y")
    (tmp_path / "folder").mkdir()
    assert "'folder' is a folder" in refused("train", "folder")


def test_a_missing_library_says_how_to_install_it(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert 'pip install "scikit-learn>=' in refused("train", "iris")
