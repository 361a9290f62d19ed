"""`mpiexec -n 2 fusedstep train … --parallel mpi`: what it prints and writes is that of one process."""

import re
import subprocess
import sys

import numpy as np
import pytest
from launching import environment, launch

ROWS = 400


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A CSV file with a text column, missing values, and two classes."""
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal(ROWS), rng.standard_normal(ROWS)
    colour = rng.choice(["red", "green", "blue"], ROWS)
    label = np.where(a + (colour == "red") - 0.3 * b > 0.3, "yes", "no")
    path = tmp_path_factory.mktemp("table") / "table.csv"
    rows = zip(a, [f"{q:.4f}" if k % 17 else "" for k, q in enumerate(b)], colour, label, strict=True)
    cells = (f"{p:.4f},{q},{c},{t}" for p, q, c, t in rows)
    path.write_text("a,b,colour,label\n" + "\n".join(cells) + "\n")
    return path


def arguments(table, out, *more):
    return ["-m", "fusedstep", "train", table, "--target", "label", "--epochs", "4", "--hidden", "16", "--out", out, *more]


def alone(*given):
    command = [sys.executable, "-P", *map(str, given)]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)


def test_the_result_is_that_of_one_process(table, tmp_path):
    together = launch(2, *arguments(table, tmp_path / "two.safetensors", "--parallel", "mpi", "--plot", tmp_path / "figures"))
    assert together.status == 0, together.error
    assert together.out.count("Results") == 1
    assert "in 2 processes" in together.out
    one = alone(*arguments(table, tmp_path / "one.safetensors"))
    assert one.returncode == 0, one.stderr
    # The same table of results; the line about time, processes and files differs.
    assert _results(together.out) == _results(one.stdout)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "one.safetensors", "two.safetensors"]
    answers = []
    for name in ("one", "two"):
        done = alone("-m", "fusedstep", "predict", tmp_path / f"{name}.safetensors", table, "-o", tmp_path / f"{name}.csv")
        assert done.returncode == 0, done.stderr
        answers.append((tmp_path / f"{name}.csv").read_text().splitlines()[1:])
    assert len(answers[0]) == ROWS
    assert sum(p.split(",")[0] != q.split(",")[0] for p, q in zip(*answers, strict=True)) == 0


def _results(text):
    lines = re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", text).splitlines()  # mpiexec passes a terminal on
    start = next(k for k, line in enumerate(lines) if "Results" in line)
    return [line for line in lines[start:] if line.startswith("│")][:3]


def test_an_interrupted_training_goes_on_with_another_number(table, tmp_path):
    # A schedule over all steps would be another one with --max-steps.
    given = ("--schedule", "constant", "--checkpoint", tmp_path / "run", "--checkpoint-every", "3")
    begun = launch(3, *arguments(table, tmp_path / "m.safetensors", *given, "--parallel", "mpi", "--max-steps", "10"))
    assert begun.status == 0, begun.error
    done = launch(2, *arguments(table, tmp_path / "m.safetensors", *given, "--parallel", "mpi", "--resume"))
    assert done.status == 0, done.error
    whole = alone(*arguments(table, tmp_path / "whole.safetensors", "--schedule", "constant"))
    assert _results(done.out) == _results(whole.stdout)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--lr", "-1"], "error: expected lr"),
        (["--batch-size", "0"], "error: --batch-size"),
        (["--nope"], "error: No such option"),
    ],
)
def test_an_error_is_said_once(table, tmp_path, more, message):
    ended = launch(2, *arguments(table, tmp_path / "m.safetensors", "--parallel", "mpi"), *more)
    assert ended.status == 2
    assert len(ended.errors) == 1, ended.error
    assert ended.errors[0].startswith(message)
    assert "rank" not in ended.errors[0]
    assert not list(tmp_path.iterdir())


def test_without_mpiexec(table, tmp_path):
    done = alone(*arguments(table, tmp_path / "m.safetensors", "--parallel", "mpi"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: expected processes that a launcher has started")
    assert "mpiexec -n 4" in done.stderr
