"""The section of docs/performance.md with the results of the reports in benchmarks/results that name their workloads, and that
of docs/scale.md with the model of communication.
"""

from __future__ import annotations

import json
from pathlib import Path

from ..benchmarks.evaluation import grid
from ..benchmarks.reports.markdown import markdown_table
from ..benchmarks.reports.tables import case_table, machine_line, overview_table, sentences
from ..benchmarks.reports.wording import WORDING
from ..benchmarks.result_files import load
from ..benchmarks.results import BenchReport

NONE = "No report of them is committed yet."


def found(folder: Path) -> dict[str, BenchReport]:
    """Name -> report, the newest first; other files in the folder are left out."""
    reports = {}
    for path in folder.glob("*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.get("settings", {}).get("workloads"):
            reports[path.stem] = load(path)
    return dict(sorted(reports.items(), key=lambda item: str(item[1].machine.get("date")), reverse=True))


def section(folder: Path) -> str:
    """For each processor and part: the tables of the newest report, and the means of earlier ones."""
    parts: dict[tuple[object, ...], list[str]] = {}
    for name, report in found(folder).items():
        key = tuple(str(report.settings.get(k)) for k in ("workloads", "grid", "networks")), report.machine.get("cpu")
        texts = parts.setdefault(key, [])
        texts.append(_means(name, report) if texts else _whole(name, report))
    return "\n\n".join("\n\n".join(texts) for texts in parts.values()) or NONE


def _link(name: str) -> str:
    return f"[{name}](../benchmarks/results/{name}.md)"


def _whole(name: str, report: BenchReport) -> str:
    texts = [f"{_link(name)}: {machine_line(report)}.", *sentences(report)]
    for workload in WORDING:
        tables = [overview_table(report, workload)]
        if workload in ("start", "ranks", "ranks-fit"):
            tables = [case_table(case) for case in grid(report, workload)]
        texts += [markdown_table(table, level=3) for table in tables if table is not None]
    return "\n\n".join(texts)


def _means(name: str, report: BenchReport) -> str:
    return f"Earlier: {_link(name)}. {' '.join(sentences(report))}"


def model(folder: Path) -> str:
    """What benchmarks/scale.sh wrote, without the networks that the model was fitted to."""
    text = (folder / "two-hosts" / "model.md").read_text(encoding="utf-8")
    return text.partition("### Networks that it was fitted to")[0].strip()
