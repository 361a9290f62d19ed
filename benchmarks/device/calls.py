"""The two calls of benchmarks/on_a_gpu.sh: their parts in order, and the planned seconds of each.

`python -m fusedstep.benchmarks.device.calls check` prints a plan, from which the script reads the time limits of its parts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from ...errors import FusedstepError, HyperparameterError
from .plan import SECONDS, DevicePlan

LIMITS = {"check": 330, "measure": 240}
"""Default seconds of a call."""

CHECK = {"versions": 10, "preflight": 20, "compile": 78}
"""Seconds before the tests; a preflight is stopped after twice its time, and its time is taken from the tests."""

TESTS = {
    "steps": 60, "products": 40, "precision": 35, "data": 20, "threads": 6, "kernels": 24, "conformance": 20,
    "communicators": 5, "others": 7,
}  # fmt: skip
"""Groups of the tests of tests/gpu, the most valuable first. They run one after the other, as far as time allows."""

MEASURE = ("adam", "products", "copy", "784-tf32", "4096x3-tf32", "8192x4-bfloat16")
"""Parts of the benchmark; `--parts` names others."""

START, ENDING = 10, 10
"""Until the benchmark has found the device; and after a call's last part, for what is still to be written."""


def group(test: str) -> str:
    """The group of a test, by the name of its file, such as "…/test_device_steps.py::test_…"."""
    name = test.partition(".py")[0].rpartition("test_device_")[2]
    return name if name in TESTS else "others"


def planned(call: str, limit: int | None = None, parts: str = "") -> dict[str, int]:
    """Part -> seconds; together the limit.

    Args: call – "check" or "measure"; limit – seconds, None for those of LIMITS; parts – of the benchmark, as in Plan.
    Raises: HyperparameterError for an unknown part, and for a limit that leaves no time for the tests or the benchmark.
    """
    limit = LIMITS[call] if limit is None else limit
    if call == "check":
        before, after = CHECK, {"ending": ENDING}
        wanted: Mapping[str, float] = {f"tests/{name}": seconds for name, seconds in TESTS.items()}
    else:
        before, after = {"start": START}, {"ending": ENDING}
        wanted = {name: SECONDS[name] for name in DevicePlan(parts or ",".join(MEASURE)).names}
    rest = limit - sum(before.values()) - sum(after.values())
    if rest < len(wanted):
        least = limit - rest + len(wanted)
        raise HyperparameterError(f"expected at least {least} s for {call}; got {limit}; use {LIMITS[call]}")
    return {**before, **_divided(wanted, rest), **after}


def _divided(usual: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole seconds in these proportions, which add up to the total."""
    found, done, given = {}, 0.0, 0
    for name, seconds in usual.items():
        done += seconds
        found[name] = round(total * done / sum(usual.values())) - given
        given += found[name]
    return found


def table(call: str, parts: Mapping[str, int], limit: int) -> str:
    """A plan in lines: a part and its seconds, and at last the sum of them."""
    width = max(map(len, parts))
    lines = [f"  {name:{width}} {seconds:4d} s" for name, seconds in [*parts.items(), ("sum", sum(parts.values()))]]
    return "\n".join([f"plan of {call}, at most {limit} s:", *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the plan of a call.

    Args: arguments – the call, and --limit SECONDS and --parts LIST.
    """
    parser = argparse.ArgumentParser(prog="python -m fusedstep.benchmarks.device.calls")
    parser.add_argument("call", choices=LIMITS)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--parts", default="")
    given = parser.parse_args(arguments)
    try:
        parts = planned(given.call, given.limit, given.parts)
    except FusedstepError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(given.call, parts, LIMITS[given.call] if given.limit is None else given.limit))
    return 0


if __name__ == "__main__":
    sys.exit(main())
