"""The table in docs/features.md: its rows are complete, what it names exists, and each row has tests that carry its number.

Tests are read with `ast`, not collected: a test that needs a GPU or an optional library counts by being there.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

import fusedstep
from fusedstep.framework.cli.application import app
from fusedstep.framework.cli.later import LATER

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"A": 14, "B": 12, "C": 14, "D": 5, "E": 12, "F": 5}
ROWS = [f"{letter}{number}" for letter, size in SIZES.items() for number in range(1, size + 1)]
ROWS += [f"G{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18)]


class Row(NamedTuple):
    """A row of the table: its number, the public objects and commands, the files or folders of its tests."""

    number: str
    api: list[str]
    tests: list[str]


def table(text: str) -> list[Row]:
    """All rows of the page."""
    lines = re.findall(r"^\| ([A-G]\d+) \|[^|]*\|([^|]*)\|([^|]*)\|[^|]*\|$", text, re.M)
    return [Row(number, re.findall(r"`([^`]+)`", api), re.findall(r"`([^`]+)`", tests)) for number, api, tests in lines]


def rows_carried(source: str) -> set[str]:
    """The rows that the tests of a file carry, by name (test_b7_c2_…) or by @pytest.mark.row("B7", "C2")."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        carried = re.match(r"test_((?:[a-g]\d+_)+)", node.name, re.I)
        found.update(carried[1].upper().rstrip("_").split("_") if carried else [])
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.row":
                found.update(argument.value for argument in mark.args if isinstance(argument, ast.Constant))
    return found


@cache
def carried_by(place: str) -> set[str]:
    """The rows that a file, or any file of a folder, carries."""
    path = ROOT / "tests" / place
    files = [path] if path.is_file() else sorted(path.rglob("test_*.py"))
    return set().union(*(rows_carried(file.read_text()) for file in files))


def missing(name: str) -> str | None:
    """Why a name of the API column does not exist, or None."""
    kind, _, rest = name.partition(" ")
    if kind == "fusedstep" and rest:
        commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback} | set(LATER)
        return None if rest in commands else f"`{name}` is no command"
    parts = name.split(".")
    if parts[0] == "fs":
        target: object = fusedstep
        if parts[1] not in fusedstep.__all__:
            return f"`{name}` is not public"
        parts = parts[1:]
    else:
        target = import_module(".".join(parts[:-1]))
        parts = parts[-1:]
    for part in parts:
        target = getattr(target, part, None)
    return f"`{name}` does not exist" if target is None else None


PAGE = table((ROOT / "docs" / "features.md").read_text())


def test_the_table_has_every_row_once() -> None:
    assert [row.number for row in PAGE] == ROWS


@pytest.mark.parametrize("row", PAGE, ids=lambda row: row.number)
def test_the_row_has_tests_and_an_api(row: Row) -> None:
    assert row.api
    assert [reason for reason in map(missing, row.api) if reason] == []
    assert row.tests
    assert [place for place in row.tests if row.number not in carried_by(place)] == []


def test_the_gallery_shows_every_example() -> None:
    from fusedstep.framework.examples import EXAMPLES

    shown = re.findall(r"^## `(\S+)` \((E\d+)\)$", (ROOT / "docs" / "gallery.md").read_text(), re.M)
    assert shown == [(example.name, example.row.upper()) for example in EXAMPLES]


def test_what_is_wrong_is_found() -> None:
    (row,) = table("| C2 | x | `fs.SDG` `fusedstep tarin` | `unit/test_losses.py` | 000 |\n")
    assert row == Row("C2", ["fs.SDG", "fusedstep tarin"], ["unit/test_losses.py"])
    assert [bool(missing(name)) for name in (*row.api, "fs.Trainer.fti", "fs.Trainer.fit", "fusedstep bench")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert "C2" not in carried_by(row.tests[0])
    marked = '@pytest.mark.row("B7", "C2")\ndef test_x(): ...\n'
    assert rows_carried(marked + "def test_D1_d2_y(): ...\ndef other_c3_(): ...\n") == {"B7", "C2", "D1", "D2"}
