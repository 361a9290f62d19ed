"""Any number of processes trains as one does: within the tolerances, and with the same bits where a step is deterministic."""

import os
import subprocess
import sys

import numpy as np
import pytest
from launching import PROGRAMS, environment, launch

from fusedstep.backends.conformance.tolerances import TOLERANCES

COUNTS = 1, 2, 3, 4
PART = {1: "float64", 2: "float64", 4: "numba-float64"}
"""Of the settings, by number of processes; all for others."""


@pytest.fixture(scope="module")
def courses(tmp_path_factory):
    """Number of processes, 0 for one without MPI -> what it wrote."""
    folder = tmp_path_factory.mktemp("courses")
    found = {}
    for count in (0, *COUNTS):
        path = folder / f"{count}.npz"
        if count:
            ended = launch(count, PROGRAMS / "courses.py", path, "mpi", *filter(None, [PART.get(count)]))
            assert ended.status == 0, ended.error
        else:
            subprocess.run([sys.executable, "-P", PROGRAMS / "courses.py", path, "alone"], env=environment(), check=True)
        found[count] = dict(np.load(path))
    return found


def tolerance_of(name):
    dtype, what = name.split("-")[2], name.rpartition("/")[2]
    return TOLERANCES[dtype, "loss" if what == "losses" else "parameter"]


@pytest.mark.parametrize("count", COUNTS)
def test_g16_same_course_as_alone(courses, count):
    alone, together = courses[0], courses[count]
    assert together.keys() == {name for name in alone if PART.get(count, "") in name}
    assert len(together) == {1: 20 * 2 + 4, 2: 20 * 2 + 4, 3: 32 * 2 + 8, 4: 10 * 2 + 2}[count]
    for name, found in together.items():
        assert tolerance_of(name).allows(found, alone[name]).all(), name


@pytest.mark.parametrize("count", COUNTS[1:])
def test_g16_deterministic_steps_have_the_same_bits_for_any_number(courses, count):
    names = [name for name in courses[count] if "-fixed" in name and name in courses[1]]
    assert len(names) == {2: 10 * 2 + 2, 3: 10 * 2 + 2, 4: 5 * 2 + 1}[count]
    for name in names:
        assert courses[count][name].tobytes() == courses[1][name].tobytes(), name


def test_other_steps_are_not_the_same_to_the_bit_by_chance(courses):
    """Else the test above would say nothing."""
    names = [name for name in courses[1] if "-free" in name and name.endswith("parameters")]
    assert any(courses[3][name].tobytes() != courses[1][name].tobytes() for name in names)


def test_sums_during_the_backward_pass_change_nothing(courses, tmp_path):
    """As between hosts, in chunks; they are begun early on `numba`, and in the same order in processes without any rows."""
    ended = launch(3, PROGRAMS / "courses.py", tmp_path / "3.npz", "mpi", FUSEDSTEP_PARALLEL_OVERLAP="1")
    assert ended.status == 0, ended.error
    found = dict(np.load(tmp_path / "3.npz"))
    for name, expected in courses[3].items():
        assert tolerance_of(name).allows(found[name], expected).all(), name
        if "-fixed" in name:
            assert found[name].tobytes() == expected.tobytes(), name


def test_without_memory_in_common(courses, tmp_path):
    """As where one process may not open that of another: MPI sums what it sums elsewhere."""
    ended = launch(2, PROGRAMS / "courses.py", tmp_path / "2.npz", "mpi", "numba-float64-free", WITHOUT_MEMORY="1")
    assert ended.status == 0, ended.error
    found = dict(np.load(tmp_path / "2.npz"))
    assert len(found) == 5 * 2 + 1
    for name, values in found.items():
        assert tolerance_of(name).allows(values, courses[2][name]).all(), name


def test_estimators_fit_together(tmp_path):
    ended = launch(3, PROGRAMS / "estimators.py", tmp_path / "together.npz", "mpi")
    assert ended.status == 0, ended.error
    subprocess.run(
        [sys.executable, "-P", PROGRAMS / "estimators.py", tmp_path / "alone.npz", "alone"], env=environment(), check=True
    )
    alone, together = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("alone", "together"))
    for name, expected in alone.items():
        assert TOLERANCES["float64", "parameter"].allows(together[name], expected).all(), name


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="memory in common needs Linux")
def test_memory_in_common_is_counted_and_given_back():
    ended = launch(2, PROGRAMS / "memory.py")
    assert ended.status == 0, ended.error
    assert ended.out.splitlines() == ["held, 0 mapped"] * 2
