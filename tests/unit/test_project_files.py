"""What project files say in more than one place agrees: versions, extras, Python versions; workflows and forms can be read."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import fusedstep
from fusedstep.extras import EXTRAS, install_line

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OPTIONAL: dict[str, list[str]] = PROJECT["optional-dependencies"]
FOR_DEVELOPERS = {"docs", "peers", "test", "test-cuda", "all"}
FORMER_NAMES = {"data": "tables"}
PRINTED = [path for folder in ("framework", "benchmarks", "backends", "kernels") for path in (ROOT / folder).rglob("*.py")]

WORKFLOWS = sorted(path.name for path in (ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(path.name for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")


def read(path: str) -> dict[Any, Any]:
    """A YAML file of the repository."""
    yaml = pytest.importorskip("yaml", reason="needs PyYAML: pip install pyyaml")
    loaded = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def members(extra: str) -> set[str]:
    """The extras that an extra takes in."""
    named = [re.fullmatch(r"fusedstep\[(.+)\]", requirement) for requirement in OPTIONAL[extra]]
    return {name for match in named if match for name in match[1].split(",")}


def everything(extra: str) -> set[str]:
    """The requirements of an extra and of those that it takes in, without markers."""
    own = {requirement.partition(";")[0].strip() for requirement in OPTIONAL[extra] if not requirement.startswith("fusedstep[")}
    return own.union(*(everything(other) for other in members(extra)))


# Extras and the lines that install them.


@pytest.mark.parametrize("extra", sorted(set(OPTIONAL) - FOR_DEVELOPERS - set(FORMER_NAMES)))
def test_install_lines_have_the_requirements_of_the_extra(extra: str) -> None:
    assert set(EXTRAS[extra]) == everything(extra)
    assert install_line(extra) == "pip install " + " ".join(f'"{requirement}"' for requirement in EXTRAS[extra])


def test_there_is_a_line_for_every_extra_of_users() -> None:
    assert set(EXTRAS) == set(OPTIONAL) - FOR_DEVELOPERS - set(FORMER_NAMES)


def test_former_names_of_extras_still_install_the_same() -> None:
    assert {former: members(former) for former in FORMER_NAMES} == {former: {now} for former, now in FORMER_NAMES.items()}


def test_all_is_what_users_need_without_a_gpu() -> None:
    """Nor PyTorch, which takes more room than everything else, and which only those convert to who have it."""
    assert members("all") == set(EXTRAS) - {"cuda12", "cuda13", "torch", "mpi", "mlflow", "wandb"}
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


def test_the_newest_version_of_the_changelog_is_that_of_the_project() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.M)
    assert headings[0] == "[Unreleased]"
    dated = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})", heading) for heading in headings[1:]]
    released = [(tuple(map(int, match[1].split("."))), date.fromisoformat(match[2])) for match in dated if match]
    assert len(released) == len(headings) - 1
    assert released == sorted(released, reverse=True)
    assert ".".join(map(str, released[0][0])) == PROJECT["version"]
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_citation_has_version_and_date_of_the_changelog() -> None:
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= set(citation)
    assert citation["license"] == PROJECT["license"]
    assert f"## [{citation['version']}] - {citation['date-released']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert citation["version"] == PROJECT["version"]


# Workflows, forms and hooks.


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_can_be_read_and_their_jobs_have_steps(name: str) -> None:
    workflow = read(f".github/workflows/{name}")
    assert workflow[True]  # YAML 1.1 reads the key `on` as the boolean
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["jobs"]
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        assert job["timeout-minutes"] > 0
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])
        assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)
        for script in re.findall(r"bash (\S+)", " ".join(step.get("run", "") for step in job["steps"])):
            assert (ROOT / script).is_file()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_install_extras_that_exist(name: str) -> None:
    text = (ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8")
    installed = [extra for extras in re.findall(r'"\.\[([\w,-]+)\]"', text) for extra in extras.split(",")]
    assert installed
    assert set(installed) <= set(OPTIONAL)


def test_python_versions_of_classifiers_and_of_the_workflow_agree() -> None:
    named = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", entry) for entry in PROJECT["classifiers"]]
    versions = [match[1] for match in named if match]
    matrix = read(".github/workflows/ci.yml")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == versions
    assert PROJECT["requires-python"] == f">={versions[0]}"
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}


@pytest.mark.parametrize("name", FORMS)
def test_issue_forms_have_what_such_a_form_needs(name: str) -> None:
    form = read(f".github/ISSUE_TEMPLATE/{name}")
    assert {"name", "description", "body"} <= set(form)
    identities = [field["id"] for field in form["body"]]
    assert len(set(identities)) == len(identities) > 0
    assert all(field["attributes"]["label"] for field in form["body"])


def test_hooks_have_a_version_or_are_local() -> None:
    for source in read(".pre-commit-config.yaml")["repos"]:
        assert source["hooks"]
        assert source["repo"] == "local" or re.fullmatch(r"v[\d.]+", source["rev"])


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/index.md", "docs/performance.md"])
def test_install_lines_of_documents_name_extras_that_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = [extra for extras in re.findall(r'"\.\[([\w,-]+)\]"', text) for extra in extras.split(",")]
    assert named
    assert set(named) <= set(OPTIONAL)
