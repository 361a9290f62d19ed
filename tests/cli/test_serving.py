"""docs/serving.md from top to bottom: the commands, onnxruntime, and a service that is asked over HTTP."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs

httpx = pytest.importorskip("httpx", reason="httpx is not installed")
for needed in ("onnx", "onnxruntime", "fastapi", "uvicorn"):
    pytest.importorskip(needed, reason=f"{needed} is not installed")

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)


def block(kind, words):
    """The one block of a kind with these words."""
    (found,) = [code for name, code in BLOCKS if name == kind and words in code]
    return found


def python(code, folder):
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, timeout=300,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With people.csv, and the files that the commands of the page make of it."""
    path = tmp_path_factory.mktemp("serving")
    python(block("python", "people.csv"), path)
    for line in block("sh", "fusedstep train").splitlines():
        program, *words = shlex.split(line)
        assert program == "fusedstep"
        words += ["--epochs", "5"] if words[0] == "train" else []  # which is enough to answer something
        subprocess.run([sys.executable, "-m", "fusedstep", *words], cwd=path, capture_output=True, check=True)
    return path


@pytest.fixture(scope="module")
def address(folder):
    """Of the service, in a process of its own."""
    (folder / "service.py").write_text(block("py", "# service.py"), encoding="utf-8")
    (words,) = [shlex.split(line) for line in block("sh", "uvicorn").splitlines() if line.startswith("uvicorn")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(port) if word == "8000" else word for word in words]
    with (folder / "service.log").open("w+", encoding="utf-8") as log:
        served = subprocess.Popen([sys.executable, "-m", *words], cwd=folder, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 60
            while not _listens(port):
                assert served.poll() is None, (folder / "service.log").read_text(encoding="utf-8")
                assert time.monotonic() < until
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            served.terminate()
            served.wait(30)


def _listens(port):
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def test_onnxruntime_in_ten_lines(folder):
    code = block("py", "print(label, probabilities)")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    printed = python(code + "print(*label, *probabilities[:, 1].tolist(), sep='\\n')", folder)
    table = fs.TableModel.load(folder / "people.safetensors")
    rows = {"age": [31.0, None], "town": ["Oslo", None], "member": [True, False]}
    rows["since"] = np.array(["2021-05-01", "NaT"], "datetime64[us]")
    found = printed.split("\n")[-5:-1]
    assert found[:2] == table.predict(rows).tolist()
    assert [float(one) for one in found[2:]] == pytest.approx(table.predict_proba(rows)[:, 1].tolist(), abs=1e-5)


def test_the_service_answers_as_the_model(folder, address):
    curl = shlex.split(block("sh", "curl").partition("curl ")[2].replace("\\\n", " "))
    rows = json.loads(curl[curl.index("-d") + 1])
    answer = httpx.post(f"{address}/predict", json=rows)
    assert answer.status_code == 200, answer.text
    table = fs.TableModel.load(folder / "people.safetensors")
    columns = {name: [row.get(name) for row in rows] for name in table.preprocessor.input_names}
    expected = table.predict_proba(columns).tolist()
    assert [one["prediction"] for one in answer.json()] == table.predict(columns).tolist()
    assert [list(one["probabilities"].values()) for one in answer.json()] == [pytest.approx(row) for row in expected]
    assert [list(one["probabilities"]) for one in answer.json()] == [["no", "yes"]] * 2


def test_the_service_answers_a_mistake_with_its_message(address):
    answer = httpx.post(f"{address}/predict", json=[{"age": "old", "town": "Ulm"}])
    assert answer.status_code == 422
    assert "column 'age'" in answer.json()["detail"]
    assert "'old'" in answer.json()["detail"]


def test_both_are_timed(folder):
    lines = python(block("py", "timeit"), folder).splitlines()
    assert [line.split()[0] for line in lines] == ["fusedstep", "onnxruntime"]
    assert all(re.fullmatch(r"\w+ \d+ µs a row", line) for line in lines)
