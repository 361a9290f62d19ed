"""The files of the package import each other in one direction: no circles, for values or for types, at once or later."""

from __future__ import annotations

import ast
import gc
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import fusedstep

ROOT = Path(fusedstep.__file__).parent
FLOORS = ("benchmarks", "framework", "backends", "kernels")


def package_files(root=ROOT):
    """Module name -> file, of everything that is installed."""
    found = [*root.glob("*.py"), *(path for floor in FLOORS for path in (root / floor).rglob("*.py"))]
    dotted = {path: ".".join(path.relative_to(root).with_suffix("").parts) for path in found}
    names = {path: name.removesuffix("__init__").rstrip(".") for path, name in dotted.items()}
    return {name: path for path, name in names.items() if "suites" not in path.parts}


def hands_on_only(tree):
    """Whether a package's __init__ defines nothing itself; its importers then import from the files that do."""
    return not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)


class Imports:
    """Which file imports from which: relative imports, wherever they stand in a file."""

    def __init__(self, files):
        self.files = files
        self.trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in files.items()}
        self.thin = {n for n, path in files.items() if path.name == "__init__.py" and hands_on_only(self.trees[n])}

    def named(self, module):
        """(module, name) of everything that a module imports from the package."""
        inside = module.split(".") if self.files[module].name == "__init__.py" and module else module.split(".")[:-1]
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = inside[: len(inside) - node.level + 1]
                whole = ".".join([*base, *(node.module or "").split(".")]).strip(".")
                for alias in node.names:
                    yield whole, alias.name, alias.asname or alias.name

    def home(self, module, name):
        """The module that a name comes from."""
        inner = f"{module}.{name}".strip(".")
        if inner in self.files and not (module in self.thin and self._handed_on(module, name)):
            return inner
        if module in self.thin:
            handed = self._handed_on(module, name)
            if handed:
                return self.home(*handed)
        return module

    def _handed_on(self, module, name):
        found = [(source, original) for source, original, shown in self.named(module) if shown == name]
        return next((pair for pair in found if pair[0] != module), None)

    def graph(self):
        """Module -> the modules that it imports from."""
        arrows = {}
        for module in self.files:
            if module not in self.thin:
                targets = {self.home(source, name) for source, name, _ in self.named(module)}
                arrows[module] = {target for target in targets if target in self.files and target != module}
        return arrows


@pytest.fixture(scope="module")
def imports():
    gc.disable()  # millions of nodes, and none of them garbage
    try:
        yield Imports(package_files())
    finally:
        gc.enable()


def test_there_are_no_circles_of_imports(imports):
    try:
        TopologicalSorter(imports.graph()).prepare()
    except CycleError as error:
        raise AssertionError(f"files that import each other in a circle: {' -> '.join(error.args[1])}") from error


def test_what_is_installed_needs_neither_tests_nor_tools(imports):
    """But for a dry run, which says that it needs a checkout."""
    used = {(module, source) for module in imports.files for source, _, _ in imports.named(module)}
    wrong = {(module, source) for module, source in used if source.partition(".")[0] in ("tests", "tools")}
    assert wrong == {("benchmarks.device.place", "tests.fakes")}


def test_a_circle_would_be_found(tmp_path):
    """Also one for a type, through a package that hands on."""
    texts = {
        "kernels/__init__.py": "from .one import First as First\n",
        "kernels/one.py": "def later():\n    from .two import Second\n",
        "kernels/two.py": "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from . import First\nclass Second: ...\n",
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    graph = Imports(package_files(tmp_path)).graph()
    assert graph == {"kernels.one": {"kernels.two"}, "kernels.two": {"kernels.one"}}
    with pytest.raises(CycleError):
        TopologicalSorter(graph).prepare()
