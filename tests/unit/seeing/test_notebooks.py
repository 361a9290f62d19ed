"""What notebooks show of models, histories, searches and reports, and their progress bar."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.benchmarks.reports.tables import ReportTable
from fusedstep.framework import html
from fusedstep.framework.training.history import _shown
from fusedstep.framework.training.progress import TerminalBar, new_bar

EMPTY = {"circle", "polyline", "rect"}


class Reader(HTMLParser):
    """Rows of the tables, those in bold type, and texts outside; every element must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.strong: set[int] = set()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            if "bold" in dict(attributes)["style"]:
                self.strong.add(len(self.rows) - 2)

    def handle_startendtag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)
        assert tag in EMPTY

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        else:
            self.texts.append(data)


def history_of(epochs: int, losses: Any = None, **more: Any) -> fs.History:
    """A history with these losses."""
    history = fs.History(3)
    for k in range(epochs):
        loss = 1.0 / (k + 1) if losses is None else losses[k]
        history.rows.append({"epoch": k + 1.0, "loss": loss, **{name: values[k] for name, values in more.items()}})
    return history


def test_a_model_shows_its_summary() -> None:
    model = fs.mlp([20, 64, 2], dropout=0.1)
    found = Reader(model._repr_html_())
    assert found.texts == ["Sequential, not initialised"]
    assert found.rows[1:] == [
        ["0", "Linear(inputs=20, outputs=64)", "64", "1,344"], ["1", "ReLU()", "64", "0"], ["2", "Dropout(p=0.1)", "64", "0"],
        ["3", "Linear(inputs=64, outputs=2)", "2", "130"], ["", "parameters", "", "1,474"],
    ]  # fmt: skip
    assert found.strong == {4}
    assert all(cell in model.summary() for row in found.rows[1:] for cell in row)
    assert Reader(model.initialize(backend="numpy")._repr_html_()).texts == ["Sequential, float32 on numpy"]


def test_text_is_escaped() -> None:
    class Bold(fs.Tanh, public=False):
        def __repr__(self) -> str:
            return '<b onclick="x">&'

    for text in (fs.Sequential(fs.Linear(2, 2), Bold())._repr_html_(), html.curves({"<b>": [1, 2]}, '"<b>')):
        assert "<b" not in text
    assert Reader(fs.Sequential(fs.Linear(2, 2), Bold())._repr_html_()).rows[2][1] == '<b onclick="x">&'


def test_a_history_shows_curves_and_the_best_epoch() -> None:
    history = history_of(4, val_loss=[3.0, 1.0, 0.5, 2.0], samples_per_second=[12345.6] * 4)
    history.stopped_because = "enough"
    found = Reader(history._repr_html_())
    assert found.tags.count("polyline") == 2
    assert {"4 epochs; stopped: enough", "val_loss", "3"} <= set(found.texts)
    assert found.rows[0] == ["epoch", "loss", "val_loss", "samples_per_second"]
    assert found.rows[3] == ["3", "0.3333", "0.5", "12,346"]
    assert found.strong == {2}
    assert Reader(fs.History()._repr_html_()).texts == ["0 epochs"]


def test_a_long_history_is_shortened() -> None:
    found = Reader(history_of(40, losses=[abs(k - 20.0) + 1.0 for k in range(40)])._repr_html_())
    assert [row[0] for row in found.rows[1:]] == ["1", "2", "3", "…", "21", "…", "36", "37", "38", "39", "40"]
    assert found.strong == {4}


@pytest.mark.parametrize(("count", "best"), [(0, -1), (1, 0), (10, 4), (11, 0), (11, 10), (12, 6), (500, 499), (500, 3)])
def test_rows_that_are_shown_are_in_order_with_one_mark_for_each_gap(count: int, best: int) -> None:
    shown = _shown(count, best)
    real = [k for k in shown if k is not None]
    assert real == sorted(set(real))
    assert not real or (best in real and {0, count - 1} <= set(real))
    for before, mark, after in zip(shown, shown[1:], shown[2:], strict=False):
        assert mark is not None or after - before > 1
    assert len(shown) <= 11
    assert all(b - a == 1 for a, b in pairwise(shown) if None not in (a, b))


def test_curves_have_gaps_and_a_logarithmic_axis() -> None:
    parts = html.curves({"loss": [1.0, 2.0, math.nan, 3.0, math.inf, 1.0, 2.0]}, "loss")
    assert (parts.count("<polyline"), parts.count("<circle")) == (2, 1)
    assert html.curves({"loss": [1.0, math.nan]}, "loss") == html.curves({}, "loss") == ""

    def heights(values: list[float]) -> list[float]:
        points = html.curves({"loss": values}, "loss").partition('points="')[2].partition('"')[0]
        return [float(point.split(",")[1]) for point in points.split()]

    assert np.diff(heights([1000.0, 10.0, 0.1])).tolist() == pytest.approx([44.0, 44.0])
    assert np.diff(heights([3.0, 2.0, 1.0])).tolist() == pytest.approx([44.0, 44.0])
    assert heights([2.0, 2.0]) == [52.0, 52.0]


def test_a_report_and_a_search_show_their_tables() -> None:
    found = Reader(ReportTable("64-256-10@32", ["", "ms"], [["numba", "0.12"], ["torch", "0.34"]], [0])._repr_html_())
    assert (found.rows, found.strong) == ([["", "ms"], ["numba", "0.12"], ["torch", "0.34"]], {0})
    candidate = fs.Candidate((8,), "relu", 0.0, "SGD", 0.1, 0.0, 32, "constant")
    trials = tuple(fs.SearchTrial(candidate, value, 3, state) for value, state in
                   ((0.5, "complete"), (0.2, "complete"), (math.inf, "failed")))  # fmt: skip
    result = Reader(fs.SearchResult(trials)._repr_html_())
    assert [row[1] for row in result.rows] == ["val_loss", "0.5000", "0.2000", "inf"]
    assert result.strong == {1}
    assert Reader(fs.SearchResult(trials[2:])._repr_html_()).strong == set()


# The progress bar.


def test_on_a_terminal_the_bar_is_drawn_by_rich() -> None:
    bar = new_bar(3)
    assert isinstance(bar, TerminalBar)
    bar.remove()


CELL = """
import numpy as np
import fusedstep as fs
x, y = np.random.default_rng(0).standard_normal((60, 4)), np.arange(60) % 2
fs.Trainer(fs.mlp([4, 2]), fs.SoftmaxCrossEntropy(), fs.SGD(), progress=True, backend="numpy").fit(x, y, epochs=2)
"""


def test_in_a_notebook_the_bar_is_one_element_that_is_updated() -> None:
    pytest.importorskip("ipykernel", reason="needs ipykernel: the extra test")
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    messages: list[Any] = []
    try:
        reply = client.execute_interactive(CELL, timeout=120, output_hook=messages.append)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert reply["content"]["status"] == "ok", reply["content"]
    kinds = [message["msg_type"] for message in messages if message["msg_type"] != "status"]
    assert kinds[:2] == ["execute_input", "display_data"]
    assert kinds[-1] == "execute_result"
    assert set(kinds[2:-1]) == {"update_display_data"}
    bars = [message["content"] for message in messages if "display" in message["msg_type"]]
    assert len({bar["transient"]["display_id"] for bar in bars}) == 1
    shown = [bar["data"]["text/html"] for bar in bars]
    assert 'value="0.000"' in shown[0]
    assert re.search(r"epoch 2/2 loss \d", shown[-2])
    assert shown[-1] == ""
    for text in shown:
        Reader(text)
    # The value of the cell, the history, is shown as HTML.
    result = next(message for message in messages if message["msg_type"] == "execute_result")
    assert "2 epochs" in Reader(result["content"]["data"]["text/html"]).texts
