"""Files that follow from the registries of layers, losses and optimisers are as the registries have them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("numba", reason="needs Numba CUDA, as the extras cuda12 and cuda13 install it")

import fusedstep as fs
from fusedstep.framework import layers, optimizers
from fusedstep.tools import generate


@pytest.mark.parametrize("name", generate.generated())
def test_what_is_committed_is_fresh(name: str) -> None:
    assert (generate.ROOT / name).read_text(encoding="utf-8") == generate.generated()[name], f"run {generate.COMMAND}"


def define(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """An optimiser of that module, which is forgotten after the test."""
    monkeypatch.setitem(optimizers.OPTIMIZERS, "Newest", fs.SGD)
    type("Newest", (fs.SGD,), {"__doc__": "theta -= lr g^2.", "__module__": module})


def test_a_new_class_is_in_everything_that_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, f"{generate.PACKAGE}.framework.optimizers.newest")
    after = generate.generated()
    changed = {name for name, text in after.items() if (generate.ROOT / name).read_text(encoding="utf-8") != text}
    assert changed == {
        "__init__.pyi", "framework/cli/names.py", "docs/index.md", "docs/features.md", "docs/reference/optimisers.md",
        "docs/mathematics/optimisers.md",
    }  # fmt: skip
    assert all("Newest" in after[name] for name in changed)
    assert "from .framework.optimizers.newest import (\n    Newest as Newest,\n)" in after["__init__.pyi"]
    assert "| `fs.Newest` | θ −= η g² |" in after["docs/mathematics/optimisers.md"]


def test_a_class_of_a_user_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before = generate.generated()
    define(monkeypatch, "mine")
    assert generate.generated() == before


@pytest.mark.parametrize(("package", "without"), [(layers, {"fused"}), (optimizers, {"full_batch", "headroom"})])
def test_every_file_of_a_registry_is_imported_by_its_package(package: ModuleType, without: set[str]) -> None:
    files = {path.stem for path in Path(str(package.__file__)).parent.glob("*.py")}
    assert files - {"__init__", "base"} - without <= set(package.__all__)


def test_marks_that_are_missing_are_named() -> None:
    assert generate.replaced("a <b>x</b> c", "<b>", "</b>", "new") == "a <b>new</b> c"
    for text in ("a", "<b>x", "<b><b></b>"):
        with pytest.raises(ValueError, match="put the marks back"):
            generate.replaced(text, "<b>", "</b>", "new")
