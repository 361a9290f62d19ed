"""Reports of known numbers: tables, Markdown, a page that needs nothing else, and a picture."""

from __future__ import annotations

import builtins
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from fusedstep.backends.profiling import Part
from fusedstep.benchmarks.profiles import rows_of
from fusedstep.benchmarks.reports.bar_figures import parts_of
from fusedstep.benchmarks.reports.line_figures import batches, memory_points
from fusedstep.benchmarks.reports.markdown import markdown
from fusedstep.benchmarks.reports.tables import (
    case_table,
    cautions,
    kernel_table,
    machine_line,
    number,
    overview_table,
    percent,
    profile_table,
    sentences,
)
from fusedstep.benchmarks.result_files import save
from fusedstep.benchmarks.results import BenchReport, Profile
from fusedstep.errors import HyperparameterError, MissingDependency
from fusedstep.tools.measured import NONE, section


def test_numbers():
    shown = {0.012345: "0.0123", 0.5: "0.5", 1.234: "1.23", 12.345: "12.3", 123.4: "123", 12345.6: "12,346"}
    assert {value: number(value) for value in shown} == shown
    assert percent(None) == ""


def test_a_table_of_a_case(case):
    table = case_table(case)
    assert table.rows[0] == ["numba", "5.00", "4.50–5.50", "51,200", "200", "50 %", "1.00x"]
    assert [row[0] for row in table.rows] == ["numba", "numpy", "torch", "sklearn", "GEMMs (BLAS)", "GEMMs (rows)"]
    assert table.strong == [0, 1]
    case.timings = [t for t in case.timings if t.kind != "peer"]
    assert case_table(case).headings[-1] == "of floor", "without peers there is no column for them"


def test_a_table_of_a_kernel(report):
    assert kernel_table(report.kernels[0]).rows[0] == ["numba", "2.00", "2.00–2.00", "14.0", "70 %"]


def test_a_table_of_a_profile():
    entries = [
        Part("0 Linear + ReLU", "forward", "matmul", 3e-3, 6 * 10**9, 3 * 10**6),
        Part("parameters", "update", "adam_outside", 1e-3, 0, 28 * 10**6),
    ]
    profile = Profile("8-4-2@16", "numba", rows_of(entries))
    table = profile_table(profile)
    assert table.rows == [
        ["forward", "", "3.000", "75 %", "6,000", "2,000", "3.00", "1.00"],
        ["0 Linear + ReLU", "matmul", "3.000", "75 %", "6,000", "2,000", "3.00", "1.00"],
        ["update", "", "1.000", "25 %", "", "", "28.0", "28.0"],
        ["parameters", "adam_outside", "1.000", "25 %", "", "", "28.0", "28.0"],
        ["step", "", "4.000", "100 %", "6,000", "1,500", "31.0", "7.75"],
    ]
    assert table.strong == [0, 2, 4]
    assert parts_of(profile) == {"matmul": 3e-3, "update": 1e-3}


def test_sentences(report):
    assert sentences(report)[0] == (
        "numba takes 1.00 times as long as the best peer and reaches 50 % of the speed of the matrix products alone "
        "(geometric mean of 2 networks)."
    )
    assert len(sentences(report)) == 2, "the best of each network is numba's own line again"


def test_the_libraries_that_multiplied_are_told(report):
    assert "BLAS" not in machine_line(report)
    names = ("float32 NN 64x128x64", "float32 NT 64x128x10", "float32 TN 64x128x64")
    report.machine["blas_choices"] = dict(zip(names, ("mkl", "numpy", "mkl"), strict=True))
    assert "BLAS: mkl for 2 products, numpy for 1" in machine_line(report)
    assert "BLAS: mkl for 2 products, numpy for 1" in markdown(report)


def test_sentences_tell_trainings_with_few_products_from_others(workloads):
    """One epoch takes 5 ms beside 50, of which the products take 2.5; the other 0.5 beside 0.4, of which they take 0.25."""
    few = "where the matrix products alone take less than 70 % of that peer's time"
    assert sentences(workloads) == [
        f"An epoch of fusedstep on numba takes 0.35 times as long as the best peer {few} (geometric mean of 2 networks).",
        f"An epoch of fusedstep on numpy takes 0.71 times as long as the best peer {few} (geometric mean of 2 networks).",
        f"A prediction of fusedstep on numba takes 1.00 times as long as the best peer {few} (geometric mean of 2 networks).",
        f"A prediction of fusedstep on numpy takes 2.00 times as long as the best peer {few} (geometric mean of 2 networks).",
        "A process of fusedstep (numba, empty cache) takes 4.00 s, 2.00 times as long as the import of PyTorch.",
    ]
    (case, *_) = workloads.cases
    case.timings[4].seconds = case.timings[5].seconds = [0.04, 0.04, 0.04]
    assert sentences(workloads)[0] == (
        f"An epoch of fusedstep on numba takes 1.25 times as long as the best peer {few} (one network), and 0.10 times as long "
        "as the best peer where the matrix products alone take at least 70 % of that peer's time (one network)."
    )


def test_all_trainings_at_a_glance(workloads):
    assert overview_table(workloads, "fit").rows == [
        ["784-512-512-10@256/1024", "5.00", "50.0 (torch)", "0.10x", "2.00x", "5 %"],
        ["64-10@32/320", "0.5", "0.4 (torch)", "1.25x", "2.00x", "62 %"],
    ]
    assert overview_table(workloads, "step") is None
    assert overview_table(workloads, "start") is None
    assert case_table(workloads.cases[0]).rows[0][3] == "204,800", "rows of an epoch, not of a minibatch"
    assert case_table(workloads.cases[-1]).headings == ["", "ms", "quartiles", "/ peer"]
    assert workloads.cases[-1].title == "start of 20-64-3@32, plain, float32, 2 threads"


def test_a_page_of_workloads(workloads):
    pytest.importorskip("matplotlib")
    from fusedstep.benchmarks.reports.html import html
    from fusedstep.benchmarks.reports.picture import picture

    page = html(workloads)
    for figure in ("fit", "predict", "start"):
        assert f'<figure id="{figure}"><svg role="img" aria-label=' in page
    for figure in ("floor", "peers", "throughput"):
        assert f'<figure id="{figure}">' not in page
    for words in ("How fast are whole trainings, predictions, starts?", "Whole trainings at a glance", "Starts: a new process"):
        assert words in page
    assert "| 64-10@32/320 | 0.5 | 0.4 (torch) | 1.25x | 2.00x | 62 % |" in markdown(workloads)
    assert picture(workloads).startswith(b"\x89PNG")


def test_a_machine_that_is_busy_or_held_back_is_told(report):
    assert cautions(report) == []
    report.machine["load_average"] = 1.5
    report.machine["variables"] = {"OPENBLAS_CORETYPE": "Haswell", "OMP_NUM_THREADS": "2"}
    busy, forced = cautions(report)
    assert "busy" in busy
    assert forced.startswith("OPENBLAS_CORETYPE=Haswell was set")
    assert f"**{busy}**\n\n**{forced}**" in markdown(report)


def test_markdown(report):
    text = markdown(report)
    assert "| **numba** | **5.00** |" in text
    assert "left out: jax (64-128-128-10@128): computes something else" in text
    assert "left out: cuda: no device – buy one" in text


def test_memory_of_a_step(report):
    assert memory_points(report) == {}
    report.cases[0].timings[0].memory = {"parameters": 1_000_000, "total": 2_000_000}
    assert memory_points(report) == {"numba": [("784-512-512-10@256", 2_000_000)]}


def test_throughput_is_drawn_where_there_are_most_batches(report):
    assert [case.parsed.batch for case in batches(report)] == [32, 128, 256, 512]


class Page(HTMLParser):
    """Notes elements, their attributes, and whether all are closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [(tag, *a) for a in attrs]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [(tag, *a) for a in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(report):
    pytest.importorskip("matplotlib")
    from fusedstep.benchmarks.reports.html import html

    report.cases[0].timings[0].memory = {"total": 2_000_000}
    return html(report)


def test_the_page_needs_nothing_else(page):
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    parsed = Page()
    parsed.feed(page)
    assert parsed.open == []
    assert not {"link", "script", "img", "iframe", "object"} & set(parsed.seen)
    ids = [value for _, name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for _, name, value in parsed.attributes:
        if name in ("src", "href", "xlink:href"):
            assert value[0] == "#"
            assert value[1:] in ids
        for used in re.findall(r"url\(#(.*?)\)", value or ""):
            assert used in ids


def test_the_page_holds_tables_and_figures(page):
    for figure in ("floor", "peers", "throughput", "scaling", "profile"):
        assert f'<figure id="{figure}"><svg role="img" aria-label=' in page
    for words in (
        "784-512-512-10@256, plain, float32, 2 threads", "51,200", "Memory-bound kernels", "Memory of a step",
        "a &lt;processor&gt;", "commit 0123456789 with changes", "cuda: no device – buy one", "computes something else",
    ):  # fmt: skip
        assert words in page
    assert "a <processor>" not in page
    svg = re.search(r"<svg.*?</svg>", page, re.S)[0]
    ET.fromstring(svg.replace("<svg", '<svg xmlns:xlink="x"', 1))


def test_the_page_of_an_empty_report():
    pytest.importorskip("matplotlib")
    from fusedstep.benchmarks.reports.html import html

    page = html(BenchReport({"cpu": "c"}, {}))
    assert "<figure" not in page
    assert "How it was measured" in page


def test_a_picture(report):
    pytest.importorskip("matplotlib")
    from fusedstep.benchmarks.reports.picture import picture

    assert picture(report).startswith(b"\x89PNG")
    whole = picture(report)
    report.cases = [case for case in report.cases if case.sweep]
    assert picture(report).startswith(b"\x89PNG")
    assert picture(report) != whole
    report.cases = []
    with pytest.raises(HyperparameterError, match="expected at least one network"):
        picture(report)


def test_without_matplotlib(monkeypatch):
    from fusedstep.benchmarks.reports.style import settings

    real = builtins.__import__

    def fail(name, *rest):
        if name == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(MissingDependency, match=r'pip install "matplotlib>=3\.9"$'):
        settings()


def test_the_page_on_performance_has_the_newest_report_of_each_kind(workloads, report, tmp_path):
    """A file that names no workloads, or is no report, is left out."""
    assert section(tmp_path) == NONE
    workloads.settings = {"workloads": ["fit", "predict", "start"], "grid": "standard"}
    for day in ("01", "02"):
        workloads.machine["date"] = f"2026-01-{day}T00:00:00+00:00"
        save(workloads, tmp_path / f"mine-{day}.json")
    save(report, tmp_path / "old.json")
    (tmp_path / "other.json").write_text("{}")
    newest, earlier = section(tmp_path).split("Earlier: ")
    assert newest.startswith("[mine-02](../benchmarks/results/mine-02.md): c, 2 cores")
    for sentence in sentences(workloads):
        assert sentence in newest
        assert sentence in earlier
    for title in ("Whole trainings at a glance", "Predictions at a glance", "start of 20-64-3@32, plain, float32, 2 threads"):
        assert newest.count(f"### {title}\n") == 1
        assert title not in earlier
    assert "old" not in newest + earlier
