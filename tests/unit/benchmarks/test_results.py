"""The file of results: there and back, and what else a path may hold; and two runs compared."""

from __future__ import annotations

import json

import pytest

from fusedstep.benchmarks.comparison import compare, same_machine, slower_than
from fusedstep.benchmarks.result_files import load, save, to_json
from fusedstep.benchmarks.results import BenchReport
from fusedstep.errors import DataFileError, OutputPathError


def test_there_and_back(report, tmp_path):
    save(report, tmp_path / "r.json")
    assert load(tmp_path / "r.json") == report


def test_what_the_file_says(report):
    document = json.loads(to_json(report))
    assert (document["format"], document["version"]) == ("fusedstep-bench", 1)
    timing = document["cases"][0]["timings"][0]
    assert timing["seconds"] == [0.004, 0.005, 0.006]
    assert timing["figures"]["median_ms"] == pytest.approx(5.0)
    assert document["left_out"][0] == {"name": "cuda", "reason": "no device", "remedy": "buy one", "where": ""}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("{", "in JSON"),
        ("[]", "of format"),
        ('{"format": "other"}', "of format"),
        ('{"format": "fusedstep-bench", "version": 99}', "of version 1; got version 99"),
        ('{"format": "fusedstep-bench", "version": 1}', "parts missing"),
        ('{"format": "fusedstep-bench", "version": 1, "machine": {}, "settings": {}, "cases": [{"x": 1}]}', "parts missing"),
    ],
)
def test_other_files_are_refused(content, words, tmp_path):
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataFileError, match=words):
        load(path)


def test_a_folder_that_does_not_exist(report, tmp_path):
    with pytest.raises(OutputPathError, match="expected a writable file"):
        save(report, tmp_path / "nowhere" / "r.json")


def slowed(report, name, factor, only=None):
    """A copy in which one contender takes `factor` times as long."""
    document = json.loads(to_json(report))
    copy = BenchReport(document["machine"], document["settings"], *_lists(report))
    for case in [*copy.cases, *copy.kernels]:
        for timing in case.timings:
            if name in (timing.name, None) and only in (None, case):
                timing.seconds = [factor * s for s in timing.seconds]
    return copy


def _lists(report):
    from copy import deepcopy

    return deepcopy((report.cases, report.kernels, report.profiles, report.left_out))


def test_the_same_is_the_same(report):
    changes = compare(report, slowed(report, "nobody", 1.0))
    assert {c.verdict for c in changes} == {"same"}
    assert {(c.absolute, c.relative) for c in changes} <= {(1.0, 1.0), (1.0, None)}
    assert len(changes) == sum(len(c.timings) for c in [*report.cases, *report.kernels])


def test_a_slower_step_is_found(report):
    changes = {(c.where, c.name): c for c in compare(report, slowed(report, "numba", 3.0))}
    change = changes["784-512-512-10@256, plain, float32, 2 threads", "numba"]
    assert (change.old_ms, change.new_ms) == (pytest.approx(5.0), pytest.approx(15.0))
    assert (change.absolute, change.relative) == (pytest.approx(3.0), pytest.approx(3.0))
    assert change.verdict == "slower"
    assert changes["784-512-512-10@256, plain, float32, 2 threads", "torch"].verdict == "same"
    slower = slower_than(list(changes.values()), 1.1)
    assert {c.name for c in slower} == {"numba"}
    assert slower_than(list(changes.values()), 3.5) == []
    assert changes["Adam update, 1 M parameters", "numba"].relative == pytest.approx(3.0)


def test_a_slower_machine_is_not_a_slower_step(report):
    """Everything takes twice as long, the floor too."""
    changes = [c for c in compare(report, slowed(report, None, 2.0)) if c.kind != "floor" and c.kind != "copy"]
    assert all(c.absolute == pytest.approx(2.0) for c in changes)
    assert all(c.relative == pytest.approx(1.0) for c in changes)
    assert {c.verdict for c in changes} == {"same"}
    assert slower_than(changes, 1.0) == []


def test_noise_is_no_verdict(report):
    """The times in units of the floor vary by half; a tenth more is nothing to speak of."""
    wild = slowed(report, "nobody", 1.0)
    for case in wild.cases:
        case.timings[0].seconds = [s * f for s, f in zip(case.timings[0].seconds, (0.7, 1.1, 1.6), strict=True)]
    change = next(c for c in compare(report, wild) if c.name == "numba")
    assert change.noise > 0.3
    assert change.verdict == "same"


def test_only_what_both_have_is_compared(report):
    other = slowed(report, "nobody", 1.0)
    other.cases = other.cases[:1]
    other.cases[0].threads = 64
    other.kernels = []
    assert compare(report, other) == []


def test_machines(report):
    other = slowed(report, "nobody", 1.0)
    assert same_machine(report, other)
    other.machine["cpu"] = "another"
    assert not same_machine(report, other)
