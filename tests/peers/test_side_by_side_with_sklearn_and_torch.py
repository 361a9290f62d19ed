"""The programs of docs/side-by-side.md run, agree in what they print, are formatted alike, and ours are the shortest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "side-by-side.md"
LIBRARIES = ("fusedstep", "scikit-learn", "PyTorch")
NEEDED = {"scikit-learn": ("skl2onnx",), "PyTorch": ("torch",)}
LARGEST_DIFFERENCE = 0.03


def _parts(text: str, mark: str) -> dict[str, str]:
    pieces = re.split(rf"^{mark} (.+)\n", text, flags=re.M)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def _block(text: str) -> str:
    return re.search(r"^```py\n(.*?)^```", text, re.M | re.S)[1]  # type: ignore[index]


SECTIONS = _parts(PAGE.read_text(), "##")
PROGRAMS = {title: {name: _block(text) for name, text in _parts(section, "###").items()} for title, section in SECTIONS.items()}
ALL = [code for programs in PROGRAMS.values() for code in programs.values()]


def _lines(code: str) -> int:
    return sum(bool(line.strip()) for line in code.splitlines())


def _run(code: str, folder: Path) -> str:
    (folder / "program.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "program.py"], capture_output=True, text=True, cwd=folder, timeout=300, check=False,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # several, on a busy machine, spin most of the time in scikit-learn
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_each_program_for_each_library() -> None:
    assert len(PROGRAMS) == 3
    assert {tuple(programs) for programs in PROGRAMS.values()} == {LIBRARIES}


@pytest.mark.parametrize("title", PROGRAMS)
def test_ours_is_the_shortest_and_the_table_says_how_long_they_are(title: str) -> None:
    counts = [_lines(PROGRAMS[title][name]) for name in LIBRARIES]
    assert counts[0] == min(counts)
    assert f"| {title[0].lower() + title[1:]} | {' | '.join(map(str, counts))} |" in PAGE.read_text()


@pytest.mark.parametrize("code", ALL, ids=lambda code: code.splitlines()[0])
def test_they_are_formatted_alike(code: str) -> None:
    tool = [sys.executable, "-m", "ruff", "format", "--isolated", "--config", "line-length=120", "-"]
    assert subprocess.run(tool, input=code, capture_output=True, text=True, check=True).stdout == code


@pytest.mark.peers
@pytest.mark.parametrize("title", PROGRAMS)
def test_they_print_the_same(title: str, tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    _run(_block(PAGE.read_text()), tmp_path)  # writes people.csv
    figures = {}
    for name, code in PROGRAMS[title].items():
        if all(find_spec(module) for module in NEEDED.get(name, ()) if module in code):
            word, figure = _run(code, tmp_path).split()
            figures[name] = (word, float(figure))
    assert len({word for word, _ in figures.values()}) == 1, figures
    best = max(figure for _, figure in figures.values())
    assert figures["fusedstep"][1] >= best - LARGEST_DIFFERENCE, figures
    assert min(figure for _, figure in figures.values()) >= best - LARGEST_DIFFERENCE, figures
    print(figures)
