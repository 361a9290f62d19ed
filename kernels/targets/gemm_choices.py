"""Selects a BLAS library for each matrix product of a captured plan: the one that is faster on this machine.

A product that a plan needs for the first time is computed by the libraries that are installed (see blas.py) and by the GEMM of
this package (see gemm/library.py), and timed. The fastest one is saved in the cache folder, so that later plans and runs on
this machine use the same one. A fixed rule decides instead, and nothing is timed, in deterministic steps, without a writable
cache folder, for the smallest products, and where FUSEDSTEP_BLAS selects one library.
"""

from __future__ import annotations

import math
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ...errors import HyperparameterError, MissingDependency
from ...extras import install_line
from . import cache
from .blas import VARIABLE, Blas, blas, libraries, wanted
from .gemm.library import NAME, found_registers, tiled_gemm
from .memory import aligned_empty
from .processor import processor
from .products import bound_gemm
from .saved_choices import SavedChoices

VERSION = 2
ADVANTAGE = 1.02
"""How many times faster than the default library another one must be to be selected."""
SMALLEST, LARGEST = 2**12, 2**29
"""Multiplications: smaller products are not timed; of larger ones a part of this size is, which takes about 10 ms."""
LEAST_WEIGHT = 2**11
"""Elements of a weight below which the GEMM of this package is no candidate, because it has to be compiled once."""
LONGEST = 4096
"""The largest extent that is timed."""
PRODUCT_SECONDS, PLAN_SECONDS = 0.04, 0.5
"""Time after which a product is not repeated; the second one is for all products of a plan together."""
BLOCK_SECONDS, BLOCKS = 1e-4, 7
"""Products are repeated for that long between two readings of the clock, and so often for each library."""
CLEAR = 1.3
"""If one library is so many times faster in the first three blocks, there are no more."""

_CLOCK = time.perf_counter if sys.platform == "win32" else getattr(time, "thread_time", time.perf_counter)
"""Seconds that this thread computed, so that processes on the same core do not count; Windows counts these too coarsely."""
_TICK = 1e-7
"""The shortest time that is believed."""

_NAME = re.compile(r"float(32|64) [NT][NT] \d+x\d+x\d+")


class Product(NamedTuple):
    """out [m, n] = op(a) [m, k] op(b) [k, n], all row-major.

    Attributes: transposed – whether op is the transpose, for a and b.
    """

    dtype: np.dtype[Any]
    transposed: tuple[bool, bool]
    extents: tuple[int, int, int]

    @property
    def name(self) -> str:
        """By which its library is saved, such as "float32 NT 128x512x10"."""
        forms = "".join("T" if transposed else "N" for transposed in self.transposed)
        return f"{self.dtype.name} {forms} {'x'.join(map(str, self.extents))}"

    @property
    def candidates(self) -> list[str]:
        """The names of the libraries that could compute it, the default first."""
        m, n, k = self.extents
        weight = m * n if self.transposed[0] else n * k
        own = weight >= LEAST_WEIGHT and wanted() == "auto" and found_registers() is not None
        return [*libraries(), *([NAME] if own else [])]

    def library(self, name: str) -> Blas:
        """One of the candidates, which is compiled if it is that of this package."""
        return tiled_gemm(self.dtype) if name == NAME else libraries()[name]


def representative(product: Product) -> Product:
    """The product that is timed for it: the same one, unless it is large; then its largest extents are reduced."""
    extents = [min(extent, LONGEST) for extent in product.extents]
    while math.prod(extents) > LARGEST:
        largest = extents.index(max(extents))
        extents[largest] //= 2
    m, n, k = extents
    return product._replace(extents=(m, n, k))


class _Planning:
    """What is timed while one plan is made: seconds that are left, and the libraries that were selected so far."""

    def __init__(self, deterministic: bool) -> None:
        self.deterministic = deterministic
        self.seconds = PLAN_SECONDS
        self.measured: dict[str, str] = {}


class GemmChoices:
    """The names of libraries by the names of products.

    Attributes: given – set by the user; used – what plans use; generation – grows whenever the user sets them.
    """

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        self.used: dict[str, str] = {}
        self.generation = 0
        self._measured: dict[str, str] = {}
        self._saved: SavedChoices[str] | None = None
        self._local = threading.local()
        self.unlock()

    def unlock(self) -> None:
        """A new lock, for a child process that was forked while another thread had the old one."""
        self._lock = threading.RLock()

    @contextmanager
    def planning(self, deterministic: bool) -> Iterator[None]:
        """See `planning`."""
        before, plan = getattr(self._local, "plan", None), _Planning(deterministic)
        self._local.plan = plan
        try:
            yield
        finally:
            self._local.plan = before
            if plan.measured:
                self.saved().add(plan.measured)

    def library(self, product: Product) -> Blas:
        """The library of a product."""
        plan = getattr(self._local, "plan", None)
        if plan is not None and plan.deterministic:
            return blas()
        product = representative(product)
        with self._lock:
            self.used[product.name] = chosen = self._chosen(product, plan)
        return product.library(chosen)

    def _chosen(self, product: Product, plan: _Planning | None) -> str:
        candidates, name = product.candidates, product.name
        default = candidates[0]
        if name in self.given:
            return self.given[name]
        if len(candidates) == 1 or math.prod(product.extents) < SMALLEST or cache.folder() is None:
            return default
        if name not in self._measured:
            self._measured |= self.saved().read()
        if name not in self._measured:
            if plan is None:
                return default
            found = {candidate: product.library(candidate) for candidate in candidates}
            start = _CLOCK()
            chosen = fastest(product, found, min(PRODUCT_SECONDS, plan.seconds / 5))
            plan.seconds = max(0.0, plan.seconds - (_CLOCK() - start))
            plan.measured[name] = self._measured[name] = chosen
        return self._measured[name]

    def saved(self) -> SavedChoices[str]:
        """The file for this processor and these libraries."""
        if self._saved is None:
            self._saved = SavedChoices("blas", VERSION, _identity(), _loaded, str)
        return self._saved


def _loaded(product: str, library: Any) -> str:
    """A choice from the file."""
    if not _NAME.fullmatch(product) or library not in [*libraries(), NAME]:
        raise ValueError(f"no choice for {product}: {library!r}")
    return str(library)


def _identity() -> str:
    """The processor and the libraries, in words."""
    from llvmlite import binding

    settings = (os.environ.get(name, "") for name in ("MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR"))
    features = cache.digest(binding.get_host_cpu_features().flatten())
    versions = (f"{name}: {library.version}" for name, library in libraries().items())
    return ", ".join((processor(), binding.get_host_cpu_name(), features, *versions, *settings))


def fastest(product: Product, candidates: Mapping[str, Blas], seconds: float) -> str:
    """The name of the fastest library on the calling thread; the first one unless another is clearly faster.

    Libraries take turns, and the shortest time of each counts: what else happens on the machine only lengthens times.
    """
    m, n, k = product.extents
    matrices = [aligned_empty((count,), product.dtype) for count in (m * k, k * n, m * n)]
    for matrix in matrices:
        matrix.fill(1.0)
    calls = {name: _timed(product, library, matrices) for name, library in candidates.items()}
    end = _CLOCK() + seconds
    best = {name: call(1) for name, call in calls.items()}  # may include loading code
    runs = max(1, int(BLOCK_SECONDS / max(_TICK, min(best.values()))))
    for block in range(BLOCKS):
        for name in list(calls)[:: -1 if block % 2 else 1]:
            best[name] = min(best[name], calls[name](runs))
        if _CLOCK() > end or (block >= 2 and max(best.values()) > CLEAR * min(best.values())):
            break
    default, winner = next(iter(calls)), min(best, key=best.__getitem__)
    return winner if best[winner] * ADVANTAGE <= best[default] else default


def _timed(product: Product, library: Blas, matrices: Sequence[Any]) -> Callable[[int], float]:
    """What computes a product so many times, with the same matrices for all libraries, and returns the mean of the seconds."""
    m, n, k = product.extents
    columns = (m if product.transposed[0] else k, k if product.transposed[1] else n)
    sides = [("T" if t else "N", line) for t, line in zip(product.transposed, columns, strict=True)]
    gemm = bound_gemm(library, product.dtype, product.extents, [*sides, ("N", n)])

    def seconds(runs: int) -> float:
        a, b, out = (int(matrix.__array_interface__["data"][0]) for matrix in matrices)
        start = _CLOCK()
        for _ in range(runs):
            gemm(a, b, out)
        return (_CLOCK() - start) / runs

    return seconds


_choices = GemmChoices()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _choices.unlock())


@contextmanager
def planning(deterministic: bool = False) -> Iterator[None]:
    """Within it the calling thread makes a plan, whose new products are timed, and limits BLAS to one thread for that.

    Args: deterministic – whether the fixed rule selects all libraries.
    """
    with _choices.planning(deterministic):
        yield


def gemm_address(dtype: np.dtype[Any], transposed: tuple[bool, bool], extents: tuple[int, int, int]) -> int:
    """The GEMM for a product in float32 or float64; see Product."""
    library = _choices.library(Product(np.dtype(dtype), transposed, extents))
    return library.sgemm if dtype == np.float32 else library.dgemm


def generation() -> int:
    """Grows with each `set_blas_choices`, after which plans are made anew."""
    return _choices.generation


def saved_blas_choices() -> dict[str, str]:
    """Product -> library, as measured on this machine so far; empty where nothing has to be measured."""
    return _choices.saved().read() if len(libraries()) > 1 or wanted() == "auto" else {}


def in_words(choices: Mapping[str, str]) -> str:
    """How many products each library computes, such as "numpy for 21 products, mkl for 1"."""
    counts = Counter(choices.values()).most_common()
    return ", ".join(f"{name} for {n}" + ("" if k else f" product{'s' * (n > 1)}") for k, (name, n) in enumerate(counts))


def blas_choices() -> dict[str, str]:
    """The BLAS library of each matrix product in the captured passes of this process (on `numba`), and those that were set.

    Keys such as "float32 NT 128x512x10" name the type, whether the factors are transposed, and m x n x k of a product
    [m, k] [k, n] on one core; large products are named by a smaller one, those of predictions by m = 96 for up to 128 rows at
    a time and m = 256 for more. Values are "mkl", "numpy", and "fusedstep" for the GEMM of this package. The result is plain
    JSON data: save it with a training to resume that with the same bits, or send it to other processes.

        {"float32 NN 64x128x64": "numpy", "float32 TN 64x128x64": "mkl", "float32 NN 96x128x64": "fusedstep"}
    """
    with _choices._lock:
        return dict(sorted({**_choices.given, **_choices.used}.items()))


def set_blas_choices(choices: Mapping[str, str] | None) -> None:
    """Sets the BLAS libraries of products for all later steps and predictions on `numba`, except deterministic ones.

    Products that are not listed are selected as before. None removes all settings.

    Args: choices – as returned by blas_choices.
    Raises: HyperparameterError for anything else, and for a library that FUSEDSTEP_BLAS rules out; MissingDependency for "mkl"
        if it is not installed.
    """
    found = libraries()
    given = {} if choices is None else choices
    if not isinstance(given, Mapping):
        raise HyperparameterError(f"expected a dictionary from blas_choices(), or None; got {type(choices).__name__}")
    for product, library in given.items():
        if not isinstance(product, str) or not _NAME.fullmatch(product):
            raise HyperparameterError(f'expected products such as "float32 NT 128x512x10"; got {product!r}')
        if isinstance(library, str) and library in found:
            continue
        if library not in ("mkl", "numpy", NAME):
            raise HyperparameterError(f'expected "mkl", "numpy" or "{NAME}" for {product}; got {library!r}')
        forced = wanted()
        if forced != "auto":
            raise HyperparameterError(
                f"expected {forced!r} for {product}, because of {VARIABLE}; got {library!r}; unset {VARIABLE}"
            )
        if library == NAME and found_registers() is not None:
            continue
        if library == NAME:
            raise HyperparameterError(f"expected a library for {product} that works on this processor; got {library!r}")
        raise MissingDependency(f"expected the package mkl for {product}; it is not installed; {install_line('mkl')}")
    with _choices._lock:
        _choices.given = dict(given)
        _choices.used = {}
        _choices.generation += 1
