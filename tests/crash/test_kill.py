"""A short run of the harness; `python -P tests/crash/harness.py --kills 100` is the long one."""

from __future__ import annotations

import os

import pytest
from harness import crash

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")


@pytest.mark.row("G9")
@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_killed_trainings_end_as_if_they_had_not_been(backend, tmp_path):
    report = crash(backend, 5, seed=1, folder=tmp_path, most_per_training=2)
    assert report.kills == 5
    assert not report.unreadable
    assert not report.wrong
