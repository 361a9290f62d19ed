"""The code blocks of README, CONTRIBUTING and docs run, and the commands of a console do what they say."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _blocks(document: str) -> list[str]:
    """The Python programs of a document; a block marked `continued` goes on in the same program."""
    programs: list[str] = []
    for mark, code in re.findall(r"^```python( continued)?\n(.*?)^```", (ROOT / document).read_text(), re.M | re.S):
        if mark:
            programs[-1] += code
        else:
            programs.append(code)
    return programs


PAGES = sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))
PROGRAMS = [(d, k) for d in ("README.md", "CONTRIBUTING.md", *PAGES) for k in range(len(_blocks(d)))]


@pytest.mark.parametrize(("document", "number"), PROGRAMS)
def test_code_blocks_run(document: str, number: int, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(_blocks(document)[number])
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_documents_have_blocks() -> None:
    assert len(_blocks("README.md")) >= 1
    assert len(_blocks("CONTRIBUTING.md")) >= 2


@pytest.mark.parametrize("page", PAGES)
def test_blocks_that_do_not_run_say_why(page: str) -> None:
    """Python and the commands of a console run, text is a formula; other blocks follow a comment <!-- not run: reason -->."""
    text = (ROOT / page).read_text()
    for start in re.finditer(r"^```(\S*)[^\n]*\n.*?^```$", text, re.M | re.S):
        before = text[: start.start()].rstrip().rsplit("\n", 1)[-1]
        assert start[1] in ("python", "console", "text") or re.fullmatch(r"<!-- not run: .{10,} -->", before), start[0]


def test_every_public_name_is_in_the_reference() -> None:
    import fusedstep

    pages = "".join((ROOT / page).read_text() for page in PAGES if page.startswith("docs/reference/"))
    assert sorted(re.findall(r"^::: fusedstep\.(?:[\w.]+\.)?(\w+)$", pages, re.M)) == sorted(fusedstep.__all__)


def test_no_entry_of_the_reference_is_a_module_in_place_of_what_it_holds() -> None:
    """Where a function has the name of its module, the module would be shown: the entry then names both."""
    pages = "".join((ROOT / page).read_text() for page in PAGES if page.startswith("docs/reference/"))
    entries = set(re.findall(r"^::: fusedstep\.([\w.]+)$", pages, re.M))
    imports = [node for node in ast.parse((ROOT / "__init__.pyi").read_text()).body if isinstance(node, ast.ImportFrom)]
    names = [(ROOT / str(node.module).replace(".", "/"), alias.name) for node in imports for alias in node.names]
    assert len(names) > 100
    shadowed = {n for place, n in names if (ROOT / n).is_dir() or (place / n).is_dir() or (place / f"{n}.py").is_file()}
    assert "backends" in shadowed
    assert not shadowed & entries


def test_docstrings_are_laid_out_for_the_site() -> None:
    pytest.importorskip("griffe", reason="the extra docs is not installed")
    module = module_of_docs("docstrings")
    given = (
        "y = a * x < 1.\n\nArgs: x; a, b – factors > 0, such as\n    `a_b`; 2 by default; c – see [1]; no name; seed.\n"
        "Raises: ShapeError; TypeError\n\n    call(1)\nSource: notes 000.\n\n>>> call(2)\n4"
    )
    assert module.laid_out(given) == (
        "y = a \\* x &lt; 1.\n\n**Args**\n\n- `x`\n- `a, b` – factors > 0, such as `a_b`; 2 by default\n"
        "- `c` – see \\[1\\]; no name\n- `seed`.\n\n"
        "**Raises:** ShapeError; TypeError\n\n```python\ncall(1)\n```\n\n**Source:** notes 000."
        "\n\n```python\n>>> call(2)\n4\n```"
    )


TINY = {"networks": "32-16-4@8", "rounds": "1", "seconds": "0.01", "backends": "numpy"}
LONG = {
    "fusedstep bench --fit --predict --start": {**TINY, "peers": "sklearn"},
    "fusedstep bench ": TINY,
    "fusedstep search": {"trials": "2"},
    "fusedstep train digits": {"epochs": "4"},
}
"""Options of commands that take long as they stand."""
PARSED = "fusedstep bench "
"""Commands whose options are only parsed by default, because tests/cli/test_bench.py runs them."""


def shortened(line: str) -> str:
    """A command with other values of these options."""
    for option, value in next((options for start, options in LONG.items() if line.startswith(start)), {}).items():
        line = f"{re.sub(rf'--{option}[ =]+[^ ]+', '', line)} --{option} {value}"
    return line


def commands(page: str) -> list[str]:
    """The lines of a page that are typed."""
    blocks = re.findall(r"^```console\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    return [line for block in blocks for line in re.findall(r"^\$ (.*?)(?:\s+#.*)?$", block, re.M)]


COMMANDS = {page: lines for page in PAGES if (lines := commands(page))}


def test_the_documents_have_commands() -> None:
    assert sum(map(len, COMMANDS.values())) >= 12
    assert "docs/command-line.md" in COMMANDS


@pytest.mark.parametrize("everything", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("page", COMMANDS)
def test_commands_of_a_console_run(page: str, everything: bool, tmp_path: Path) -> None:
    from fusedstep.framework.cli.later import load

    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for line in COMMANDS[page]:
        assert "pip install" not in line, f"{line}: what changes the environment belongs in a block that is not run"
        if line.startswith(PARSED) and not everything:
            load("bench").make_context("bench", line.removeprefix(PARSED).split())
            continue
        environment = {**os.environ, "PATH": path, "COLUMNS": "100"}
        command = ["bash", "-c", shortened(line)]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    if page == "docs/command-line.md":
        assert (tmp_path / "wine.csv").read_text().count("\n") == 179


def test_the_readme_fits_on_a_screen_and_links_to_what_exists() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 66
    targets = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(targets) > 8
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_start_page_lists_every_public_layer_loss_and_optimiser() -> None:
    from fusedstep.framework.layers import LAYERS
    from fusedstep.framework.losses import LOSSES
    from fusedstep.framework.optimizers import OPTIMIZERS

    words = set(re.findall(r"\w+", (ROOT / "docs" / "index.md").read_text()))
    assert {*LAYERS, *LOSSES, *OPTIMIZERS} <= words


# Notebooks.

NOTEBOOKS = sorted(path.stem for path in (ROOT / "docs" / "notebooks").glob("*.ipynb"))


def module_of_docs(name: str) -> Any:
    """A file of docs/, which is no package."""
    specification = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_run(name: str, tmp_path: Path) -> None:
    pytest.importorskip("nbclient", reason="needs nbclient: the extra test")
    pytest.importorskip("ipykernel", reason="needs ipykernel: the extra test")
    notebook = module_of_docs("run_notebooks").executed(ROOT / "docs" / "notebooks" / f"{name}.ipynb", str(tmp_path))
    stored = json.loads((ROOT / "docs" / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))

    def kinds(cells: Any) -> list[list[tuple[str, list[str]]]]:
        return [[(out["output_type"], sorted(out.get("data", {}))) for out in cell.get("outputs", ())] for cell in cells]

    # The outputs in the file are of the same kinds as those of this run; numbers depend on the machine.
    assert kinds(notebook.cells) == kinds(stored["cells"])
    assert sum(map(len, kinds(stored["cells"]))) >= 2


def test_a_notebook_becomes_a_page() -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    code = {"cell_type": "code", "source": ["a = 1\n", "a"], "outputs": [
        {"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]},
        {"output_type": "execute_result", "data": {"text/plain": ["1"], "text/html": ["<table>\n", "\n", "</table>"]}},
        {"output_type": "execute_result", "data": {"text/plain": ["1"]}},
    ]}  # fmt: skip
    cells = [{"cell_type": "markdown", "source": ["# T"]}, code]
    hooks = module_of_docs("hooks")
    hooks.SOURCES.cleanup()  # a folder of mkdocs
    page = hooks.notebook_page(json.dumps({"cells": cells}), "t")
    assert page == (
        "# T\n\n[Download this notebook](t.ipynb)\n\n```python\na = 1\na\n```\n\n```text\none\ntwo\n```\n\n"
        "<div><table>\n</table></div>\n\n```text\n1\n```\n"
    )


def test_every_notebook_is_in_the_navigation() -> None:
    assert len(NOTEBOOKS) >= 2
    assert re.findall(r"notebooks/(\w+)\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")) == sorted(NOTEBOOKS)
