"""The results of tests on a GPU, one line each, written as they arrive; used for the summary, and by --resume.

A line is `passed 0.123 tests/gpu/test_device_steps.py::test_…`; the last one of a test counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from .calls import TESTS, group

OUTCOMES = ("passed", "failed", "skipped")
DONE = ("passed", "skipped")
"""Final outcomes, which are not run again."""
COLLECTED = "collected"
"""In place of an outcome: the test was to be run."""


def line(outcome: str, seconds: float, test: str) -> str:
    """The line of a result in the file."""
    return f"{outcome} {seconds:.3f} {test}\n"


def results(path: Path) -> dict[str, str]:
    """Test -> its last outcome, or COLLECTED; empty where there is no file. A line that was cut off is left out."""
    found: dict[str, str] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        outcome, _, rest = text.partition(" ")
        test = rest.partition(" ")[2]
        # A later round names its tests again, and then has their results; a test failed where any of its stages did.
        if test and (outcome in OUTCOMES or (outcome == COLLECTED and found.get(test) not in DONE)):
            found[test] = outcome
    return found


def finished(path: Path) -> set[str]:
    """The tests that need not be run again."""
    return {test for test, outcome in results(path).items() if outcome in DONE}


def rank(test: str) -> tuple[int, bool]:
    """The place of a test in the order of all: by group, and in each the `cuda` backend before the `cupy` backend."""
    return list(TESTS).index(group(test)), "[cupy" in test or "-cupy" in test


def summary(found: dict[str, str]) -> list[str]:
    """For each group how many tests passed, failed, were skipped, or have not been run."""
    counts = {name: Counter(outcome for test, outcome in found.items() if group(test) == name) for name in TESTS}
    lines = []
    for name, counted in counts.items():
        if counted:
            shown = [f"{counted[outcome]} {outcome}" for outcome in OUTCOMES if counted[outcome]]
            shown += [f"{counted[COLLECTED]} not run"] if counted[COLLECTED] else []
            lines.append(f"{name}: {', '.join(shown)}")
    return lines


def append(path: Path, lines: Iterable[str]) -> None:
    """Writes lines at the end, at once."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(lines)


def outcome_of(when: str, outcome: str) -> str | None:
    """What a stage of a test says of the test, "setup", "call" or "teardown"; None where it says nothing new."""
    if outcome == "failed":
        return "failed"
    if when == "call" or (when == "setup" and outcome == "skipped"):
        return outcome
    return None
