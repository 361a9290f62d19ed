"""Selects the backend: argument, then `with use_backend(...)`, then FUSEDSTEP_BACKEND, then `auto`.

Only `auto` falls back to another backend, and reports it once.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from functools import cache, lru_cache, wraps
from typing import Any, ParamSpec, TypeVar, cast

from ..errors import BackendUnavailable, UnknownBackend
from ..kernels.interrupts import uninterrupted
from .contract import Array, Backend, Unavailable

VARIABLE = "FUSEDSTEP_BACKEND"
ENTRY_POINTS = "fusedstep.backends"
BUILT_IN = {
    "numpy": "numpy.backend:NumpyBackend",
    "numba": "numba.backend:NumbaBackend",
    "cupy": "cupy.backend:CupyBackend",
    "cuda": "cuda.backend:CudaBackend",
}
AUTO_ORDER = ("cuda", "cupy", "numba", "numpy")

P = ParamSpec("P")
R = TypeVar("R")
_replaced: dict[str, type[Backend]] = {}
"""Replacements of built-in backends in this process, by name."""
_chosen: ContextVar[Backend | None] = ContextVar("fusedstep_backend", default=None)


@lru_cache(maxsize=1)
def _registered() -> dict[str, Any]:
    """Entry points of other packages, by name; they cannot replace built-in backends."""
    from importlib.metadata import entry_points

    return {e.name: e for e in entry_points(group=ENTRY_POINTS) if e.name not in BUILT_IN}


def names() -> tuple[str, ...]:
    """All known backends, whether or not they can run."""
    return (*BUILT_IN, *sorted(_registered()))


@cache
def backend_class(name: str) -> type[Backend]:
    """The class of a backend by name; raises UnknownBackend."""
    if name in _replaced:
        return _replaced[name]
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return cast("type[Backend]", getattr(importlib.import_module(f"{__package__}.{module}"), attribute))
    if name in _registered():
        return cast("type[Backend]", _registered()[name].load())
    from difflib import get_close_matches

    near = get_close_matches(name.lower(), names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "choose one of these"
    raise UnknownBackend(f"expected one of the backends {', '.join(names())} or auto; got {name!r}; {hint}")


def replace_backend(name: str, kind: type[Backend]) -> None:
    """Replaces a built-in backend in this process by another class: a fake, for tests and dry runs.

    Args: name – such as "cuda"; kind – the class; its `unavailable` says whether it can run here.
    """
    _replaced[name] = kind
    for known in (backend_class, why_not, _automatic):
        known.cache_clear()


@cache
def _instance(kind: type[Backend]) -> Backend:
    with uninterrupted():
        return kind()


@cache
def why_not(name: str) -> Unavailable | None:
    """Why the backend of that name cannot run here, or None if it can; raises UnknownBackend."""
    try:
        found = backend_class(name)
    except UnknownBackend:
        raise
    except Exception as error:
        return Unavailable(
            f"its package cannot be loaded ({type(error).__name__}: {error})", f"reinstall the package that has {name!r}", error
        )
    with uninterrupted():
        return found.unavailable()


@lru_cache(maxsize=1)
def _automatic() -> str:
    """The first backend of AUTO_ORDER that works."""
    import logging

    logger = logging.getLogger("fusedstep")
    skipped: dict[tuple[int, str, str], list[str]] = {}
    for name in AUTO_ORDER:
        problem = why_not(name)
        if problem is None:
            for (level, *why), others in skipped.items():
                logger.log(level, "backend auto takes %s, not %s: %s; to fix it: %s", name, " or ".join(others), *why)
            return name
        level = logging.WARNING if problem.expected else logging.INFO
        skipped.setdefault((level, problem.reason, problem.remedy), []).append(name)
    raise BackendUnavailable("expected at least NumPy to work; it does not; reinstall it with: pip install numpy")


def requested(name: str | None = None) -> str:
    """The requested name: `name`, otherwise from the context manager, the environment variable, or "auto"."""
    if name is not None and not isinstance(name, str):
        raise UnknownBackend(f"expected the name of a backend; got {name!r}; choose one of {', '.join(names())}")
    if name == "":
        raise UnknownBackend(f"expected the name of a backend; got an empty one; choose one of {', '.join(names())}, auto")
    chosen = _chosen.get()
    return name or (chosen and chosen.name) or os.environ.get(VARIABLE, "").strip() or "auto"


def backend(name: str | Backend | None = None) -> Backend:
    """The backend in use.

    Args: name – "numpy", "numba", "cupy", "cuda", one registered by another package, or "auto"; a Backend is returned
        unchanged; None uses the context manager, then FUSEDSTEP_BACKEND, then "auto".
    Raises: UnknownBackend with the valid names; BackendUnavailable with the reason and how to fix it.
    """
    if isinstance(name, Backend):
        return name
    chosen = _chosen.get()
    if name is None and chosen is not None:
        return chosen
    wanted = requested(name)
    if wanted == "auto":
        wanted = _automatic()
    problem = why_not(wanted)
    if problem is not None:
        raise BackendUnavailable(
            f"expected backend {wanted!r} to work on this machine; {problem.reason}; {problem.remedy}, or choose another "
            "backend (`fusedstep backends` lists those that work)"
        ) from problem.cause
    return _instance(backend_class(wanted))  # type: ignore[arg-type]  # for mypy a class is not Hashable


Backend._find = staticmethod(backend)


class _Block(AbstractContextManager[Backend]):
    """`with use_backend(...)`, or a decorator; warns on deletion if it was used as neither."""

    def __init__(self, chosen: Backend) -> None:
        self._chosen = chosen
        self._tokens: list[Token[Backend | None]] = []
        self._used = False

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        self._used = True

        @wraps(function)
        def within(*args: P.args, **kwargs: P.kwargs) -> R:
            with _Block(self._chosen):
                return function(*args, **kwargs)

        return within

    def __enter__(self) -> Backend:
        self._used = True
        self._tokens.append(_chosen.set(self._chosen))
        return self._chosen

    def __exit__(self, *raised: object) -> None:
        _chosen.reset(self._tokens.pop())

    def __del__(self) -> None:
        if not self._used:
            name = self._chosen.name
            warnings.warn(
                f'expected `with use_backend("{name}"):`; got a call without with, which changes nothing; '
                f"for all that follows set {VARIABLE}={name}",
                RuntimeWarning,
                stacklevel=2,
            )


def use_backend(name: str | Backend) -> _Block:
    """Selects the backend within a `with` block (in this thread or task), or, as a decorator, within a function.

    Args: name – as for `backend`, or a Backend. A call without `with` has no effect and warns; FUSEDSTEP_BACKEND selects the
        backend globally.
    Returns: a context manager whose value is the backend.
    Raises: UnknownBackend, BackendUnavailable, when it is called.
    """
    return _Block(backend(name))


def backends() -> dict[str, Unavailable | None]:
    """All known backends: name -> None if it works on this machine, otherwise the reason."""
    return {name: why_not(name) for name in names()}


def having(precision: str, device: str) -> list[str]:
    """The built-in backends that support a precision, whether or not they work here; those of that device first."""
    found = [name for name in BUILT_IN if precision in backend_class(name).precisions]
    return sorted(found, key=lambda name: backend_class(name).device != device)


def asarray(values: Any, backend: str | Backend | None = None, dtype: str | None = None) -> Array:
    """Converts `values` to an array of a backend, also from the device of another backend.

    Args: values – numbers, a NumPy, CuPy or DLPack array; backend – name, or None for the one in use; dtype – such as
        "float32", None for that of the values.
    Returns: an array on the device of the backend; the same object if no conversion is needed.
    Raises: DtypeError for anything but numbers; UnknownBackend, BackendUnavailable.
    """
    target = globals()["backend"](backend)
    if not target.is_array(values) and hasattr(values, "get") and hasattr(values, "__cuda_array_interface__"):
        values = values.get()
    return target.asarray(values, dtype)
