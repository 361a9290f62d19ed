"""docs/life-of-a-step.md: what it links to exists, and each linked name is defined in the file that the link leads to."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "life-of-a-step.md"
FLOORS = ("backends", "framework", "kernels")
BLOCK = re.compile(r"^```.*?^```$", re.M | re.S)
LINK = re.compile(r"\[`?([^\]`]*)`?\]\(([^)]+)\)")
NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def definitions(body: list[ast.stmt], inside: str = "") -> Iterator[str]:
    """Classes, functions and constants of a module, and those of its classes as Class.name."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield inside + node.name
            yield from definitions(node.body, f"{inside}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield inside + node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (inside + target.id for target in targets if isinstance(target, ast.Name))


@cache
def defined(file: Path) -> frozenset[str]:
    """The names that a source file defines."""
    return frozenset(definitions(ast.parse(file.read_text(encoding="utf-8")).body))


@cache
def known() -> frozenset[str]:
    """The names of all classes of the package, and of what is in them."""
    files = [file for floor in FLOORS for file in (ROOT / floor).rglob("*.py")]
    return frozenset(name for file in files for name in defined(file) if re.match(r"[A-Z]\w*[a-z]|[A-Z]\w*\.", name))


def wrong(text: str) -> list[str]:
    """What is wrong with the links of a page in docs, in words."""
    text = BLOCK.sub("", text)
    found = []
    for name, target in LINK.findall(text):
        file = (PAGE.parent / target).resolve()
        if not file.is_file():
            found.append(f"{target} does not exist")
        elif name.endswith(".py"):
            if file.name != name:
                found.append(f"{name} leads to {target}")
        elif file.suffix == ".py" and (not NAME.fullmatch(name) or name not in defined(file)):
            found.append(f"{target} does not define {name}")
    unlinked = re.findall(r"`([^`]+)`", LINK.sub("", text))
    return [*found, *(f"{name} is no link" for name in unlinked if name.endswith(".py") or name in known())]


def test_each_name_leads_to_its_definition() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(LINK.findall(text)) > 100
    assert wrong(text) == []


def test_what_is_wrong_is_found() -> None:
    text = (
        "[`TrainStep.run`](../framework/engine/step.py) [`TrainStep.ran`](../framework/engine/step.py) "
        "[`Replay`](../backends/numba/capture.py) [`Replay`](../backends/numba/played.py) "
        "[`STEPS`](../backends/cuda/several.py) [`plan.py`](../backends/numba/replay.py) "
        "[a step](../framework/engine/step.py) `TrainStep.run` `numba` `step.py` `StepLoss`\n"
        "```python\n[`x`](y)\n```\n"
    )
    assert wrong(text) == [
        "../framework/engine/step.py does not define TrainStep.ran", "../backends/numba/capture.py does not define Replay",
        "../backends/numba/played.py does not exist", "plan.py leads to ../backends/numba/replay.py",
        "../framework/engine/step.py does not define a step", "TrainStep.run is no link", "step.py is no link",
        "StepLoss is no link",
    ]  # fmt: skip


def test_the_drawing_has_its_text_as_text_and_both_themes() -> None:
    drawing = (PAGE.parent / "figures" / "life-of-a-step.svg").read_text(encoding="utf-8")
    assert "(figures/life-of-a-step.svg)" in PAGE.read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in drawing
    names = re.findall(r'class="title"[^>]*>([A-Z][a-z]+[A-Z]\w+)<', drawing)
    assert len(names) >= 8
    assert [name for name in names if name not in known()] == []
