"""Compiles every CUDA kernel for the current device, on all cores, into the kernel cache.

`python -m fusedstep.tools.warm_cache`: so that no device time is spent on compilation afterwards.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import chain, islice
from multiprocessing import get_context

from ..kernels.targets import cache
from .kernel_variants import Variant, doubles, variants

MOST = 16
"""Processes; each holds a context of the device."""


def part(first: int, step: int) -> list[Variant]:
    """Every so many of the kernels, from the one of that number on."""
    return list(islice(chain(variants(), doubles()), first, None, step))


def compile_fraction(first: int, step: int) -> list[str]:
    """Compiles a share; gives what went wrong, by kernel."""
    from ..kernels.targets.cuda.kernel import CudaKernel

    wrong = []
    for variant in part(first, step):
        try:
            CudaKernel(variant.source())
        except Exception as error:  # the other kernels are still compiled; the error is raised again when this one is used
            wrong.append(f"{variant}: {type(error).__name__}: {error}")
    return wrong


def main(arguments: Sequence[str] = ()) -> int:
    """Compiles all of them, and says which could not be.

    Args: arguments – none.
    """
    del arguments
    from numba import cuda

    folder = cache.folder()
    if folder is None:
        print("expected a folder for kernels that can be written; there is none; set FUSEDSTEP_CACHE_DIR", file=sys.stderr)
        return 2
    if not cuda.is_available():
        print("expected a CUDA device; there is none; see `fusedstep backends`", file=sys.stderr)
        return 2
    count = min(MOST, os.cpu_count() or 1)
    wrong: list[str] = []
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        for done in as_completed([pool.submit(compile_fraction, first, count) for first in range(count)]):
            wrong += done.result()
    print(f"{len(part(0, 1)) - len(wrong)} kernels are in {folder}", *wrong, sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
