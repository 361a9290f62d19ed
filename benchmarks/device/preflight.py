"""Checks first whether a GPU works at all, so that no device time is lost to a basic fault.

`python -m fusedstep.benchmarks.device.preflight`: versions, one kernel, and four steps each in float32 and in bfloat16, the
last of them replayed from a graph. With --dry-run the same in Numba's simulator.
"""

from __future__ import annotations

import platform
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from ...errors import BackendUnavailable
from .. import machine
from .place import prepare_process, simulated_cuda

PRECISIONS = ("float32", "bfloat16")
STEPS = 4
"""Two of them run call by call, the third is captured, the fourth only replayed."""
WIDTHS, ROWS = (16, 32, 3), 32


class Broken(Exception):
    """A failure of the preflight; the message is one sentence."""


def _asked(ask: Callable[[], Any]) -> str:
    try:
        return str(ask())
    except Exception as error:  # the run may do without; where it does not, it says so itself
        return f"unknown ({type(error).__name__}: {' '.join(str(error).split())[:200]})"


def _cupy(name: str) -> Any:
    return getattr(import_module("cupy").cuda.runtime, name)()


def _dotted(numbers: Iterable[Any]) -> str:
    return ".".join(map(str, numbers))


QUESTIONS: dict[str, Callable[[], Any]] = {
    "CUDA driver": lambda: _cupy("driverGetVersion"),
    "CUDA runtime": lambda: _cupy("runtimeGetVersion"),
    "NVRTC": lambda: _dotted(import_module("cupy").cuda.nvrtc.getVersion()),
    "nvJitLink": lambda: _dotted(import_module("cuda.bindings.nvjitlink").version()),
    "NVVM IR": lambda: _dotted(import_module("numba.cuda.cudadrv.nvvm").NVVM().get_ir_version()),
    "NVVM from": lambda: import_module("cuda.pathfinder").load_nvidia_dynamic_lib("nvvm").abs_path,
}
"""What CuPy and Numba find below themselves: libraries that do not fit together are the first thing to go wrong."""


def versions() -> Iterator[str]:
    """Of the sources, Python and all libraries, line by line; what cannot be asked says why."""
    commit = machine.commit()
    yield f"commit {commit['commit']}" + " with changes" * bool(commit["changed"])
    yield f"Python {platform.python_version()}"
    for name, version in machine.versions().items():
        yield f"{name} {version}"
    for what, ask in QUESTIONS.items():
        yield f"{what} {_asked(ask)}"


def find_backend(dry: bool) -> Any:
    """The cuda backend, on a device; in a dry run in the simulator.

    Raises: Broken with the reason why there is none.
    """
    from ...backends import backend
    from ...backends.selection import why_not

    if dry:
        try:
            return simulated_cuda()
        except BackendUnavailable as error:
            raise Broken(str(error)) from error
    problem = why_not("cuda")
    if problem is not None:
        raise Broken(f"backend 'cuda' cannot run here: {problem.reason} ({problem.remedy})")
    return backend("cuda")


def check_kernel(backend: Any) -> None:
    """One kernel, compiled, run, and compared with NumPy.

    Raises: Broken.
    """
    from ...kernels.formula import REGISTRY

    x = np.linspace(-3.0, 3.0, 200, dtype=np.float32).reshape(20, 10)
    out = backend.empty(x.shape)
    backend.map(REGISTRY["relu"], out, backend.asarray(x))
    found = backend.to_numpy(out)
    if not np.array_equal(found, np.maximum(x, 0.0)):
        raise Broken(f"a kernel was compiled and run, and its results are wrong: {found.ravel()[:3]} for {x.ravel()[:3]}")


def check_products(backend: Any) -> str:
    """What cuBLASLt is there, and what its ReLU and GELU do; where they do otherwise than ours they are not used.

    Raises: Broken without cuBLASLt.
    """
    from ...backends.cuda.cublaslt.checks import LibraryChecks

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gemms = backend.gemms
        if gemms is None:
            raise Broken("; ".join(str(warning.message) for warning in caught) or "there is no cuBLASLt")
        checks = LibraryChecks(backend, gemms)
        relus = {precision: checks.relu(precision, False) for precision in PRECISIONS}
        gelus = {precision: checks.gelu(precision, False) for precision in PRECISIONS}
    return f"cuBLASLt {gemms.library.version}; ReLU: {relus}; GELU is the form with tanh: {gelus}"


def check_steps(backend: Any, precision: str) -> list[float]:
    """The losses of some steps, which are those of the numpy backend, and were captured.

    Raises: Broken.
    """
    from ...backends.conformance.tolerances import tolerance

    (wanted, _), (found, step) = (_steps(run, precision) for run in ("numpy", backend))
    if not tolerance(precision, "loss").allows(found, wanted).all():
        raise Broken(f"steps in {precision} have the losses {found}; expected those of the numpy backend, {wanted}")
    if step.executor.refusal:
        raise Broken(f"steps in {precision} are correct but cannot be captured: {step.executor.refusal}")
    if not any(plan.graph is not None for plan in step.executor._plans.values()):
        raise Broken(f"steps in {precision} are correct but were not captured, without a stated reason")
    return found


def _steps(run: Any, precision: str) -> tuple[list[float], Any]:
    from ...framework.engine.model import mlp
    from ...framework.engine.step import TrainStep
    from ...framework.losses import SoftmaxCrossEntropy
    from ...framework.optimizers.adaptive import Adam

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((ROWS, WIDTHS[0]), np.float32), rng.integers(0, WIDTHS[-1], ROWS)
    # A large epsilon: with 1e-8 the first steps of Adam magnify the rounding of gradients that are nearly zero.
    step = TrainStep(mlp(list(WIDTHS)), SoftmaxCrossEntropy(), Adam(1e-2, epsilon=1e-5), 1, run, precision)
    return [float(step(x, y)) for _ in range(STEPS)], step


def check(dry: bool, progress: Callable[[str], None]) -> None:
    """Everything, in order.

    Raises: Broken at the first thing that is wrong.
    """
    began = time.monotonic()

    def done(what: str) -> None:
        progress(f"{time.monotonic() - began:5.1f} s  {what}")

    backend = find_backend(dry)
    facts = {} if dry else machine.device(backend)
    done("backend 'cuda' in Numba's simulator" if dry else ", ".join(f"{name} {value}" for name, value in facts.items()))
    check_kernel(backend)
    done("one kernel: as NumPy")
    done(check_products(backend))
    for precision in PRECISIONS:
        losses = check_steps(backend, precision)
        done(f"{STEPS} steps in {precision}: captured, losses as numpy's: {', '.join(f'{loss:.5f}' for loss in losses)}")


def main(arguments: Sequence[str]) -> int:
    """Prints what it finds; 0 where everything works, else 1 after one sentence with the reason.

    Args: arguments – `--dry-run` or nothing.
    """
    if list(arguments) not in ([], ["--dry-run"]):
        print(f"expected nothing or --dry-run; got {' '.join(arguments)}", file=sys.stderr)
        return 2
    dry = bool(arguments)
    prepare_process(dry)
    for line in versions():
        print(line, flush=True)
    try:
        check(dry, lambda line: print(line, flush=True))
    except Broken as reason:
        print(f"preflight failed: {reason}", flush=True)
        return 1
    except Exception as error:  # whatever it is, nothing that comes after this would work
        traceback.print_exc()
        print(f"preflight failed: {type(error).__name__}: {' '.join(str(error).split())[:500]}", flush=True)
        return 1
    print("preflight passed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
