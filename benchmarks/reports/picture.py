"""One figure of a report as a PNG, for the README."""

from __future__ import annotations

import io

from ...errors import HyperparameterError
from ..results import BenchReport
from .bar_figures import floor_figure, peer_figure
from .line_figures import scaling_figure
from .style import settings
from .wording import WORDING

DOTS = 200
"""For each inch."""


def picture(report: BenchReport) -> bytes:
    """Time relative to the best peer, of the first workload that has peers; without peers, the share of the floor; of a report
    of sweeps, how the time grows.

    Raises: HyperparameterError where there is nothing to draw; MissingDependency without matplotlib.
    """
    with settings():
        beside_peers = (peer_figure(report, workload) for workload in WORDING)
        figure = next(filter(None, beside_peers), None) or floor_figure(report) or scaling_figure(report)
        if figure is None:
            raise HyperparameterError(
                "expected at least one network for a figure; got none; use a --grid other than none, or --networks"
            )
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=DOTS, metadata={"Software": None})
    return data.getvalue()
