"""One word for each thing: identifiers, headings and terms of definition lists use none of the words that were given up."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

OLD = {
    "company": "concurrency",
    "course": "schedule runner",
    "crew": "thread pool",
    "kept": "saved, cached, or what is in it",
    "pace": "sampling; thread-count tuning",
    "piece": "micro-batch, part",
    "pieces": "micro-batches, parts",
    "play": "replay",
    "played": "plan",
    "recorded": "captured",
    "recorder": "capture",
    "said": "scalars, message",
    "script": "plan",
    "seeing": "diagnostics",
    "share": "fraction; shard for the rows of one core",
    "shares": "fractions; shards",
    "slope": "derivative",
    "slopes": "derivatives",
    "stabiliser": "epsilon",
    "told": "reported",
}
"""Word that was given up -> what is said now."""

PUBLIC = {
    "slope": "the argument of LeakyReLU",
    "negative_slope": "the same in PyTorch",
    "pieces": "the argument of Maxout, and the term of its authors",
    "piece": "one of the pieces of Maxout",
    "test_share": "the option --test-share of 0.1.0",
    "validation_share": "the option --validation-share of 0.1.0",
    "may_share_memory": "a function of NumPy",
}
"""Identifier that stays -> why."""
FILES_OF_PIECES = (
    "kernels/rows/", "kernels/targets/cuda", "kernels/formulas/activations.py", "backends/conformance",
    "framework/layers/dense.py", "framework/layers/activations.py", "benchmarks/networks.py", "benchmarks/suites",
    "benchmarks/kernels.py", "framework/export/onnx/layers.py", "framework/export/torch/pairs.py",
)  # fmt: skip
"""Where the first three of PUBLIC may stand."""


def words(identifier: str) -> set[str]:
    """The words of a name in any spelling: `_a_name`, `AName`, `A_NAME`."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(name, line) of all that a file names: variables, attributes, arguments, functions, classes."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name"):
            name = getattr(node, field, None)
            if isinstance(name, str) and hasattr(node, "lineno"):
                yield name, node.lineno


CODE = [
    path
    for folder in ("kernels", "backends", "framework", "benchmarks", "tools", ".")
    for path in sorted((ROOT / folder).rglob("*.py") if folder != "." else ROOT.glob("*.py"))
]


def test_no_identifier_is_an_old_word() -> None:
    wrong = []
    for path in CODE:
        where = path.relative_to(ROOT).as_posix()
        for name, line in identifiers(ast.parse(path.read_text(encoding="utf-8"))):
            stays = name in PUBLIC and (name not in ("slope", "piece", "pieces") or where.startswith(FILES_OF_PIECES))
            if words(name) & OLD.keys() and not stays:
                wrong.append(f"{where}:{line}: {name}")
    assert not wrong, wrong


def test_no_file_or_folder_has_an_old_word_for_a_name() -> None:
    wrong = [str(path.relative_to(ROOT)) for path in CODE if words(path.stem) & OLD.keys()]
    assert not wrong, wrong


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("page", sorted(page.relative_to(ROOT).as_posix() for page in PAGES if page.name != "CHANGELOG.md"))
def test_no_heading_or_defined_term_is_an_old_word(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ +(.*)$", text, re.M)
    terms = re.findall(r"^[-*] \*\*(.+?)\*\*", text, re.M) + re.findall(r"^(\S.*)\n:   ", text, re.M)
    wrong = [term for term in [*headings, *terms] if words(term) & OLD.keys()]
    assert not wrong, wrong


def test_each_class_name_is_used_once() -> None:
    """Whoever greps for it finds one."""
    seen: dict[str, str] = {}
    twice = []
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                where = path.relative_to(ROOT).as_posix()
                if node.name in seen:
                    twice.append((node.name, seen[node.name], where))
                seen[node.name] = where
    assert not twice, twice


@pytest.mark.parametrize("name", ["_kept", "ScheduleCourse", "PIECES", "n_pieces_left"])
def test_old_words_are_found_in_any_spelling(name: str) -> None:
    assert words(name) & OLD.keys()
