"""Frozen objects: the attributes of layers, losses and optimisers cannot be set after creation, because steps are replayed.

Also here, for custom classes: whether their passes may be captured, and the check that captured settings have not changed.
"""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from ...errors import StateError
from ..suggestions import arguments_of, refuse_places, refuse_unknown

OURS = f"{__name__.partition('.engine.')[0]}."
"""Prefix of the module names of this package's layers, losses and optimisers."""
_MARK = "_frozen"


class _FreezingType(ABCMeta):
    """Metaclass that freezes an object after the outermost `__init__` has returned."""

    _freezes: bool

    def __call__(cls, *arguments: Any, **settings: Any) -> Any:
        try:
            made = super().__call__(*arguments, **settings)
        except TypeError as error:
            refuse_unknown(cls.__qualname__, settings, error, _arguments_of(cls))
            refuse_places(cls.__qualname__, cls.__signature__, arguments, settings)
            raise
        if cls._freezes:
            vars(made)[_MARK] = True
        return made

    @property
    def __signature__(cls) -> inspect.Signature:
        """The signature of `__init__`, instead of that of `__call__`."""
        own = inspect.signature(cls.__init__)  # type: ignore[misc]
        return own.replace(parameters=list(own.parameters.values())[1:])


def _arguments_of(cls: type) -> Iterator[str]:
    """The arguments of a class: those of its `__init__`, and of those to which each hands on what it does not name itself."""
    for base in cls.__mro__[:-1]:
        if "__init__" in vars(base):
            function = vars(base)["__init__"]
            yield from arguments_of(function)
            if all(one.kind != one.VAR_KEYWORD for one in inspect.signature(function).parameters.values()):
                return


class Frozen(metaclass=_FreezingType):
    """Base class of layers, losses and optimisers: their attributes cannot be set after creation.

    Classes of this package and classes derived from them are frozen; custom classes derived directly from Layer or Loss are
    not. `class Own(fs.Tanh, frozen=False)` overrides this.

    Class attribute `recordable`: the pass of a class outside this package is captured and replayed only if the class sets
    `recordable = True`. This promises that forward, backward and evaluate compute only through their tape and its backend. For
    classes of this package True is the default.
    """

    _freezes = False
    _may_change: ClassVar[frozenset[str]] = frozenset()
    """Attributes that may be set nevertheless."""
    _instead: ClassVar[str] = "make a new one"
    """Advice in the error message: what to do instead of setting an attribute."""

    def __init_subclass__(cls, frozen: bool | None = None, **others: Any) -> None:
        super().__init_subclass__(**others)
        if frozen is not None or cls.__module__.startswith(OURS):
            cls._freezes = frozen is not False

    def __setattr__(self, name: str, value: Any) -> None:
        if is_frozen(self) and name not in self._may_change:
            raise self._refusal(f"{name} = {value!r}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if is_frozen(self):
            raise self._refusal(f"del {name}")
        super().__delattr__(name)

    def _refusal(self, came: str) -> StateError:
        cls = type(self)
        opened = "" if cls.__module__.startswith(OURS) else f", or write class {cls.__name__}(…, frozen=False) if it may change"
        return StateError(f"expected {self!r} to stay as it was made; got {came}; {self._instead}{opened}")

    def __setstate__(self, state: Any) -> None:
        own, slots = state if isinstance(state, tuple) else (state, None)
        vars(self).update(own or {})
        for name, value in (slots or {}).items():
            super().__setattr__(name, value)
        if type(self)._freezes:
            vars(self)[_MARK] = True


def is_frozen(thing: Frozen) -> bool:
    """Whether the attributes of an object cannot be set any more."""
    return _MARK in thing.__dict__


def is_capturable(thing: Frozen) -> bool:
    """Whether passes of an object may be captured: `recordable` of its own class, by default whether it is of this package."""
    cls = type(thing)
    return bool(cls.__dict__.get("recordable", cls.__module__.startswith(OURS)))


class CapturedSettings:
    """The attributes that an object that is not frozen had when a step was captured."""

    def __init__(self, thing: Frozen) -> None:
        self._thing = thing
        self._captured: dict[str, Any] | None = None

    def remember(self) -> None:
        """Stores the current attributes, which were captured."""
        self._captured = dict(vars(self._thing))

    def change(self) -> tuple[str, Any, Any] | None:
        """Name, old and new value of an attribute that was set or deleted since capture, which a replay ignores."""
        if self._captured is None:
            return None
        cls, now = type(self._thing), vars(self._thing)
        for name in (*self._captured, *(n for n in now if n not in self._captured and hasattr(cls, n))):
            before, after = (values.get(name, getattr(cls, name, None)) for values in (self._captured, now))
            if before is not after and not (isinstance(before, int | float | str) and before == after):
                return name, before, after
        return None

    def require_same(self) -> None:
        """Raises StateError where there is a change."""
        found = self.change()
        if found is not None:
            cls, (name, before, after) = type(self._thing), found
            asked = ", or leave recordable = True out of the class" if "recordable" in vars(cls) else ""
            raise StateError(
                f"expected {self._thing!r} to keep its {name} while a TrainStep uses it; got {after!r} in place of "
                f"{before!r}; make a new {cls.__name__} and a new TrainStep{asked}"
            )


def captured_settings(things: Iterable[Frozen]) -> list[CapturedSettings]:
    """The CapturedSettings of all objects that are not frozen."""
    return [CapturedSettings(thing) for thing in things if not is_frozen(thing)]
