"""A short run of the harness; `python -P tests/crash/harness.py --kills 100` is the long one."""

from __future__ import annotations

import os

import pytest
from harness import KINDS, crash

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")


@pytest.mark.row("G9")
@pytest.mark.parametrize(
    ("backend", "kinds"),
    [
        ("numpy", ("augmented",)),
        ("numba", ("parquet",)),
        pytest.param("numpy", KINDS, marks=pytest.mark.exhaustive),
        pytest.param("numba", KINDS, marks=pytest.mark.exhaustive),
    ],
    ids=["numpy", "numba", "numpy-all", "numba-all"],
)
def test_killed_trainings_end_as_if_they_had_not_been(backend, kinds, tmp_path):
    kills = 2 * len(kinds)
    report = crash(backend, kills, seed=1, folder=tmp_path, most_per_training=2, kinds=kinds)
    assert report.kills == kills
    assert report.trainings >= len(kinds)
    assert not report.unreadable
    assert not report.wrong
