"""Calling the command line in this process, and small data sets to call it with."""

from __future__ import annotations

import csv
import functools
import gzip
import struct
from dataclasses import dataclass

import numpy as np
import pytest
from typer import testing
from typer.testing import CliRunner

from fusedstep.framework.cli.application import app

built = functools.cache(testing._get_command)
"""Typer's runner builds all commands anew for each call, which takes longer than most of the calls."""


@dataclass
class Answer:
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def flat(self):
        """The output with line ends and runs of blanks made single blanks, so that wrapping does not matter."""
        return " ".join(self.out.split())


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs a command in an empty folder; no backend is chosen from outside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FUSEDSTEP_BACKEND", raising=False)
    monkeypatch.setattr(testing, "_get_command", built)

    def run(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def refused(call, tmp_path):
    """Runs a command that must fail with exit code 2, one line on stderr, and no new file."""

    def run(*arguments):
        before = sorted(tmp_path.rglob("*"))
        answer = call(*arguments)
        assert answer.code == 2, answer
        assert answer.err.startswith("error: "), answer
        assert answer.err.count("\n") == 1, answer
        assert "Traceback" not in answer.out + answer.err
        assert sorted(tmp_path.rglob("*")) == before
        return answer.err

    return run


@pytest.fixture
def people(tmp_path):
    """A CSV with text columns and a text target that depends on them: 120 rows."""
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, 120)
    city = rng.choice(["Riga", "Oslo", "São Paulo"], 120)
    score = age / 10 + 3.0 * (city == "Oslo") + 0.3 * rng.standard_normal(120)
    answer = np.where(score > 6, "yes, often", "no")
    path = tmp_path / "people.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["age", "city", "code", "answer"])
        writer.writerows(zip(age.tolist(), city, rng.integers(0, 9, 120).tolist(), answer, strict=True))
    return path


@pytest.fixture
def line(tmp_path):
    """A CSV whose target is nearly linear in its columns and far from 0: 200 rows."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, 3))
    y = 1000.0 + 50.0 * (x @ [1.0, -2.0, 0.5]) + rng.standard_normal(200)
    path = tmp_path / "line.csv"
    header = "a,b,c,price"
    np.savetxt(path, np.column_stack([x, y]), delimiter=",", header=header, comments="")
    return path


@pytest.fixture
def archive(tmp_path):
    """An NPZ of three clusters: 90 rows of 4 columns."""
    rng = np.random.default_rng(2)
    y = np.arange(90) % 3
    path = tmp_path / "clusters.npz"
    np.savez(path, x=rng.standard_normal((90, 4)) + 4.0 * y[:, None], y=y)
    return path


@pytest.fixture
def images(tmp_path):
    """IDX images whose brightness tells the label, and the labels beside them, gzipped."""
    rng = np.random.default_rng(3)
    labels = (np.arange(80) % 2).astype(np.uint8)
    pixels = (rng.integers(0, 60, (80, 4, 4)) + 150 * labels[:, None, None]).astype(np.uint8)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    with gzip.open(path, "wb") as stream:
        stream.write(struct.pack(">BBBBIII", 0, 0, 8, 3, 80, 4, 4) + pixels.tobytes())
    with gzip.open(tmp_path / "train-labels-idx1-ubyte.gz", "wb") as stream:
        stream.write(struct.pack(">BBBBI", 0, 0, 8, 1, 80) + labels.tobytes())
    return path
