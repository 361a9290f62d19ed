"""Every reader of files gets damaged ones: only typed errors, within 5 CPU seconds and 1 GB each, and never other weights.

A short run is part of the usual tests; 10,000 files for each reader: pytest tests/fuzz --exhaustive -m exhaustive. What is
read is in readers.py, how it is damaged in mutations.py, the limits in worker.py; a failing case is repeated with

    python tests/fuzz/worker.py READER CASE 1 FOLDER
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("worker.py")
NEEDS = {"csv": "pyarrow", "parquet": "pyarrow", "feather": "pyarrow", "svmlight": "sklearn"}
READERS = ["model", "weights", "bagging", "checkpoint", "npy", "npz", "idx", "csv", "parquet", "feather", "svmlight", "cache"]
SHORT, LONG = 200, 10_000

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits of time and memory of POSIX")


def run(reader, first, count, folder):
    """Gives a reader so many damaged files in another process, which may end if a library does not survive one of them."""
    needed = NEEDS.get(reader)
    if needed is not None and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{reader} files are read through {needed}")
    command = [sys.executable, str(WORKER), reader, str(first), str(count), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + count, check=False)
    assert done.returncode == 0, f"{reader}: the process ended with {done.returncode}; see {folder}\n{done.stderr[-3000:]}"
    report = json.loads(done.stdout)
    assert not report["failures"], json.dumps(report["failures"], indent=1)
    assert report["cases"] == report["read"] + report["refused"] == count
    assert report["read"] > 0, "changes that leave the file valid are among them"
    assert report["refused"] > 0 or reader == "cache", "what is damaged in the cache is ignored"


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files(reader, tmp_path):
    run(reader, 0, SHORT, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.parametrize("reader", READERS)
def test_many_damaged_files(reader, tmp_path):
    run(reader, 0, LONG, tmp_path)
