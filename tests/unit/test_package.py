"""The built wheel: every folder with an __init__.py is in it, and nothing else lands in site-packages."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    target = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(target), str(source)],
        check=True,
        capture_output=True,
    )
    return zipfile.ZipFile(next(target.glob("*.whl")))


def test_every_package_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    skipped = {"tests", "tools", ".venv", "build", "dist"}
    folders = {
        path.parent.relative_to(ROOT)
        for path in ROOT.rglob("__init__.py")
        if not skipped & set(path.relative_to(ROOT).parts)
    }
    names = set(wheel.namelist())
    for folder in folders:
        for module in (ROOT / folder).glob("*.py"):
            assert str(Path("fusedstep") / folder / module.name) in names
    assert "fusedstep/py.typed" in names


def test_nothing_else_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"fusedstep", next(t for t in tops if t.endswith(".dist-info"))}
    assert not any(name.startswith(("fusedstep/tests", "fusedstep/tools", "fusedstep/.")) for name in wheel.namelist())


def test_a_name_that_is_not_there_gets_a_suggestion() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import fusedstep as fs\nfs.Sgd"], capture_output=True, text=True, check=False
    )
    assert done.stderr.rstrip().endswith("AttributeError: module 'fusedstep' has no attribute 'Sgd'. Did you mean: 'SGD'?")
