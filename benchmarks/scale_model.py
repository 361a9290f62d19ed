"""What communication costs: a model of sums and steps by network and number of processes, fitted to files of communication.py.

    python -m fusedstep.benchmarks.scale_model --fit A.json B.json --check C.json D.json --figure scale.svg

A sum of n bytes over R processes is that of Rabenseifner (2004): log2 R exchanges of n/2, n/4, … n/R bytes, in which each
process adds its part, and the same backwards, in which all get all parts. An exchange of m bytes takes

    call + trips * delay + m * (byte + wire * 8 / bandwidth)

where trips is one number for messages that are sent at once, and another for longer ones, for which the receiver is asked
first. A step of B rows takes t(B / R), measured on one process alone, and the sum of the gradient. Of one that is summed in
chunks, a fraction of what may pass during the backward pass is hidden:

    step = t(B / R) + sum - hidden * min(sum, t(B / R) / 2)

Numbers of processes that were not measured are an extrapolation: each process is taken as a host of its own, and the network
between any two as that between the two which were measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from ..backends.executors.gradient_sums import CHUNK
from ..errors import HyperparameterError
from .networks import Network, parse
from .reports.markdown import markdown_table
from .reports.tables import ReportTable

Array = Any
OnOneProcess = Callable[[Network, float], float]
"""Seconds of a step of so many rows on one process."""
Check = tuple[str, str, float, float]
"""Network between the hosts, sum or step, seconds measured, seconds predicted."""

EAGER = 1 << 16
"""Bytes up to which Open MPI sends a message over TCP without asking the receiver."""
NEGLIGIBLE = 1e-4
"""Seconds that errors are relative to, beside those measured: what is shorter need not be predicted as exactly."""
RANKS = (1, 2, 8, 64, 512)
"""Processes of the figure and of its table."""
BITS = 8e-9
"""Gigabits of a byte."""


class Link(NamedTuple):
    """A network between two processes: bandwidth of each direction in Gbit/s, delay in one direction in milliseconds."""

    gbit: float
    delay_ms: float

    def __str__(self) -> str:
        return f"{self.gbit:g} Gbit/s, {self.delay_ms:g} ms"


class Costs(NamedTuple):
    """What is fitted.

    Args: call – seconds of an exchange without delay; byte – seconds of a byte in the processors; wire – bytes on the wire for
        a byte; trips, trips_of_long – delays of an exchange of up to EAGER bytes, and of a longer one; hidden – fraction of a
        sum in chunks that passes during the backward pass, as far as there is time.
    """

    call: float
    byte: float
    wire: float
    trips: float
    trips_of_long: float
    hidden: float = 0.0


@dataclass(frozen=True)
class Measured:
    """A file of communication.py; times are medians over its rounds, in seconds.

    Args: link; ranks; sums – bytes -> seconds; steps – network -> seconds; alone – network -> rows -> seconds.
    """

    link: Link
    ranks: int
    sums: Mapping[int, float]
    steps: Mapping[Network, float]
    alone: Mapping[Network, Mapping[int, float]]


def load(path: Path) -> Measured:
    """Reads a file; raises HyperparameterError for one that does not tell its network."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.get("gbit") is None or document.get("delay_ms") is None:
        raise HyperparameterError(
            f"expected {path} with its bandwidth and delay; got none; run communication.py with --gbit and --delay-ms"
        )
    sums: dict[int, float] = {}
    steps: dict[Network, float] = {}
    alone: dict[Network, dict[int, float]] = {}
    for name, seconds in document["seconds"].items():
        kind, *rest = name.split()
        if kind == "sum":
            sums[int(rest[0])] = median(seconds)
        elif kind == "step":
            steps[parse(rest[0])[0]] = median(seconds)
        else:
            alone.setdefault(parse(rest[0])[0], {})[int(rest[1])] = median(seconds)
    return Measured(Link(document["gbit"], document["delay_ms"]), document["ranks"], sums, steps, alone)


def exchanges(size: int, ranks: int) -> list[float]:
    """The bytes of each exchange of a sum, in order.

    Raises: HyperparameterError unless ranks is a power of two.
    """
    if ranks < 1 or ranks & (ranks - 1):
        raise HyperparameterError(f"expected a power of two for the processes of the model; got {ranks}; choose 2, 4, 8, …")
    halves = [size / 2**k for k in range(1, ranks.bit_length())]
    return [*halves, *reversed(halves)]


def terms(size: int, ranks: int, link: Link) -> Array:
    """What the first five of Costs are multiplied with in the seconds of a sum."""
    messages = exchanges(size, ranks)
    moved = sum(messages)
    long = sum(message > EAGER for message in messages)
    delay = link.delay_ms / 1e3
    return np.array([len(messages), moved, moved * BITS / link.gbit, (len(messages) - long) * delay, long * delay])


def sum_seconds(costs: Costs, size: int, ranks: int, link: Link) -> float:
    """Predicted seconds of a sum of that many bytes over all processes."""
    return float(terms(size, ranks, link) @ np.array(costs[:5]))


def step_seconds(costs: Costs, alone: float, size: int, ranks: int, link: Link) -> float:
    """Predicted seconds of a step.

    Args: alone – seconds of a step of the rows of one process; size – bytes of the gradient.
    """
    together = sum_seconds(costs, size, ranks, link)
    return alone + together - costs.hidden * _most_hidden(together, alone, size)


def _most_hidden(together: float, alone: float, size: int) -> float:
    """Seconds of a sum that may pass during the backward pass."""
    return min(together, alone / 2) if size > CHUNK else 0.0


def gradient_bytes(network: Network) -> int:
    """Of float32."""
    return 4 * network.parameters


def alone_seconds(found: Iterable[Measured]) -> OnOneProcess:
    """Seconds of a step of so many rows on one process: medians of all files, and straight lines between them."""
    times: dict[Network, dict[int, list[float]]] = {}
    for measured in found:
        for network, by_rows in measured.alone.items():
            for rows, seconds in by_rows.items():
                times.setdefault(network, {}).setdefault(rows, []).append(seconds)

    def alone(network: Network, rows: float) -> float:
        known = sorted(times[network])
        return float(np.interp(rows, known, [median(times[network][each]) for each in known]))

    return alone


def fitted(found: Sequence[Measured]) -> Costs:
    """The costs with the least squares of relative errors, none of them negative; `hidden` fits steps, the rest fits sums.

    Raises: HyperparameterError for fewer than two bandwidths or delays, which cannot be told from other costs.
    """
    links = {measured.link for measured in found}
    if len({link.gbit for link in links}) < 2 or len({link.delay_ms for link in links}) < 2:
        raise HyperparameterError(
            f"expected at least two bandwidths and two delays to fit to; got {', '.join(map(str, sorted(links)))}; measure more"
        )
    rows = [(m, size, seconds) for m in found for size, seconds in m.sums.items()]
    matrix = np.array([terms(size, m.ranks, m.link) / (seconds + NEGLIGIBLE) for m, size, seconds in rows])
    wanted = np.array([seconds / (seconds + NEGLIGIBLE) for _, _, seconds in rows])
    scale = np.abs(matrix).max(axis=0)
    solution, _ = nnls(matrix / scale, wanted)
    costs = Costs(*map(float, solution / scale))
    alone = alone_seconds(found)
    above = below = 0.0
    for m in found:
        for network, seconds in m.steps.items():
            single = alone(network, network.batch / m.ranks)
            size = gradient_bytes(network)
            visible = step_seconds(costs, single, size, m.ranks, m.link)
            most = _most_hidden(sum_seconds(costs, size, m.ranks, m.link), single, size)
            above += (visible - seconds) * most / seconds**2
            below += (most / seconds) ** 2
    return costs._replace(hidden=min(1.0, max(0.0, above / below)) if below else 0.0)


def checks(costs: Costs, alone: OnOneProcess, found: Iterable[Measured]) -> list[Check]:
    """Of all sums and steps of some files."""
    rows = []
    for m in found:
        for size, seconds in m.sums.items():
            rows.append((str(m.link), f"sum of {size:,} bytes", seconds, sum_seconds(costs, size, m.ranks, m.link)))
        for network, seconds in m.steps.items():
            single = alone(network, network.batch / m.ranks)
            predicted = step_seconds(costs, single, gradient_bytes(network), m.ranks, m.link)
            rows.append((str(m.link), f"step {network}", seconds, predicted))
    return rows


def check_table(title: str, rows: Sequence[Check], ranks: int) -> ReportTable:
    """Measured beside predicted; the title tells the median deviation."""
    cells = [[f"{link}: {what}", _ms(seconds), _ms(wanted), f"{wanted / seconds:.2f}"] for link, what, seconds, wanted in rows]
    off = median(abs(wanted / seconds - 1.0) for _, _, seconds, wanted in rows)
    heads = ["network, sum or step", "measured, ms", "predicted, ms", "ratio"]
    return ReportTable(f"{title}: {ranks} processes, median deviation {100 * off:.0f} %", heads, cells, [])


def scale_table(costs: Costs, alone: OnOneProcess, networks: Sequence[Network], link: Link, measured: bool) -> ReportTable:
    """Predicted steps by number of processes, and how many times faster they are than those of one.

    Args: measured – whether the network is one of those between the two processes that were measured.
    """
    rows = []
    for network in networks:
        times = {r: step_seconds(costs, alone(network, network.batch / r), gradient_bytes(network), r, link) for r in RANKS}
        rows.append([str(network), *(f"{_ms(times[r])} ({times[1] / times[r]:.1f} ×)" for r in RANKS)])
    heads = ["step, ms", *(f"{r}" + ("" if r == 1 or (r == 2 and measured) else ", extrapolated") for r in RANKS)]
    return ReportTable(f"Steps by number of processes, {link}", heads, rows, [])


def draw(
    path: Path, costs: Costs, alone: OnOneProcess, networks: Sequence[Network], links: Sequence[Link], found: Iterable[Measured]
) -> None:  # fmt: skip
    """Steps of one process over steps of R, by R: lines of the model, points of what was measured."""
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "fusedstep"  # the same names in every run
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(networks), figsize=(4.2 * len(networks), 3.8), sharey=True, layout="constrained")
    ranks = [2**k for k in range(RANKS[-1].bit_length())]
    measured = list(found)
    for ax, network in zip(np.atleast_1d(axes), networks, strict=True):
        usable = [r for r in ranks if network.batch >= r]
        one = alone(network, network.batch)
        for number, link in enumerate(links):
            times = [step_seconds(costs, alone(network, network.batch / r), gradient_bytes(network), r, link) for r in usable]
            known = 2 if any(m.link == link for m in measured) else 1
            ax.plot(usable[:known], [one / t for t in times[:known]], color=f"C{number}", label=str(link))
            ax.plot(usable[known - 1 :], [one / t for t in times[known - 1 :]], color=f"C{number}", linestyle=":")
            marks = [r for r in RANKS if r in usable and r > 2]
            ax.plot(marks, [one / times[usable.index(r)] for r in marks], "o", color=f"C{number}", markerfacecolor="none")
            seen = [(m.ranks, one / m.steps[network]) for m in measured if m.link == link and network in m.steps]
            ax.plot([r for r, _ in seen], [value for _, value in seen], "o", color=f"C{number}")
        ax.plot(usable, usable, color="gray", linewidth=0.8, label="R times")
        ax.axvspan(2, 1.3 * ranks[-1], color="gray", alpha=0.1, linewidth=0)
        ax.text(0.14, 0.03, "extrapolation", transform=ax.transAxes, color="gray")
        ax.set(xscale="log", yscale="log", title=str(network), xlabel="processes R", xlim=(0.9, 1.3 * ranks[-1]))
        ax.set_xticks(RANKS, map(str, RANKS))
        ax.minorticks_off()
    first = np.atleast_1d(axes)[0]
    first.set_ylabel("times faster than one process")
    ticks = (0.01, 0.1, 1, 10, 100)
    first.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    first.set_ylim(0.005, 600)
    first.legend(fontsize="small", loc="upper left")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def described(costs: Costs) -> str:
    """The costs in words."""
    return (
        f"An exchange takes {1e6 * costs.call:.0f} µs, {costs.trips:.1f} delays ({costs.trips_of_long:.1f} above {EAGER:,} "
        f"bytes), {1e9 * costs.byte:.2f} ns a byte in the processors and {costs.wire:.2f} bytes on the wire a byte; of a sum "
        f"in chunks, {100 * costs.hidden:.0f} % of what may be is hidden."
    )


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m fusedstep.benchmarks.scale_model", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--fit", type=Path, nargs="+", required=True, help="files that the model is fitted to")
    parser.add_argument("--check", type=Path, nargs="+", required=True, help="files of other networks, which it predicts")
    parser.add_argument("--extrapolate", default="25/0.02", help="another network, Gbit/s and ms; not measured")
    parser.add_argument("--figure", type=Path, help="file for the drawing, .svg or .png")
    given = parser.parse_args()
    known, new = [load(path) for path in given.fit], [load(path) for path in given.check]
    costs, alone = fitted(known), alone_seconds(known)
    networks, links = list(new[0].steps), [m.link for m in new]
    links.append(Link(*map(float, given.extrapolate.split("/"))))
    print(described(costs), end="\n\n")
    tables = [check_table("Networks that the model was not fitted to", checks(costs, alone, new), new[0].ranks)]
    tables += [scale_table(costs, alone, networks, link, link != links[-1]) for link in links]
    tables += [check_table("Networks that it was fitted to", checks(costs, alone, known), known[0].ranks)]
    print("\n\n".join(markdown_table(table, level=3) for table in tables))
    if given.figure is not None:
        draw(given.figure, costs, alone, networks, links, new)


if __name__ == "__main__":
    main()
