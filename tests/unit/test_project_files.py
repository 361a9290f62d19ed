"""What project files say in more than one place agrees: versions, extras, Python versions; workflows and forms can be read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import fusedstep
from fusedstep.extras import EXTRAS, install_line

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL: dict[str, list[str]] = PROJECT["optional-dependencies"]
FOR_DEVELOPERS = {"docs", "peers", "test", "test-cuda", "all"}
PRINTED = [path for folder in ("framework", "benchmarks", "backends", "kernels") for path in (ROOT / folder).rglob("*.py")]


def members(extra: str) -> set[str]:
    """The extras that an extra takes in."""
    named = [re.fullmatch(r"fusedstep\[(.+)\]", requirement) for requirement in OPTIONAL[extra]]
    return {name for match in named if match for name in match[1].split(",")}


def everything(extra: str) -> set[str]:
    """The requirements of an extra and of those that it takes in, without markers."""
    own = {requirement.partition(";")[0].strip() for requirement in OPTIONAL[extra] if not requirement.startswith("fusedstep[")}
    return own.union(*(everything(other) for other in members(extra)))


# Extras and the lines that install them.


@pytest.mark.parametrize("extra", sorted(set(OPTIONAL) - FOR_DEVELOPERS))
def test_install_lines_have_the_requirements_of_the_extra(extra: str) -> None:
    assert set(EXTRAS[extra]) == everything(extra)
    assert install_line(extra) == "pip install " + " ".join(f'"{requirement}"' for requirement in EXTRAS[extra])


def test_there_is_a_line_for_every_extra_of_users() -> None:
    assert set(EXTRAS) == set(OPTIONAL) - FOR_DEVELOPERS


def test_all_is_what_users_need_without_a_gpu() -> None:
    assert members("all") == set(EXTRAS) - {"cuda12", "cuda13"}
    assert everything("all").isdisjoint(everything("test") - everything("all"))


def test_tests_need_no_cuda_package() -> None:
    def cuda(extra: str) -> set[str]:
        return {requirement for requirement in everything(extra) if re.match(r"cupy|numba-cuda|nvidia-", requirement)}

    assert cuda("test") == set()
    assert len(cuda("test-cuda")) == 3


def test_no_advice_names_this_package_on_an_index() -> None:
    """It is on none: `pip install fusedstep` would fail, or install what somebody else put there."""
    wrong = re.compile(r"pip install [^\n]*?\bfusedstep\b")
    assert len(PRINTED) > 100
    assert wrong.search('pip install "fusedstep[plot]"')
    assert [str(path) for path in PRINTED if wrong.search(path.read_text(encoding="utf-8"))] == []


# Versions.


def test_the_package_has_the_version_of_the_project() -> None:
    assert fusedstep.__version__ == PROJECT["version"]
