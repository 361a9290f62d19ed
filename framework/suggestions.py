"""Errors that name the right thing where a user writes the name that another library has for it.

The names are in synonyms.py, which is imported only when such an error is raised.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..errors import UnknownArgument, UnknownAttribute

Explained = TypeVar("Explained", bound=Callable[..., Any])


class SuggestsAttributes:
    """Base class of classes with rows in synonyms.ATTRIBUTES: an attribute that is missing raises an error that names it."""

    __slots__ = ()

    if not TYPE_CHECKING:  # a type checker reports missing attributes only without it

        def __getattr__(self, name: str) -> Any:
            if not name.startswith("_"):
                from ..synonyms import attribute_of

                found = attribute_of(type(self), name)
                if found:
                    raise UnknownAttribute(
                        f"expected an attribute of {type(self).__name__}; got {name!r}, which it does not have; {found}"
                    )
            # With these two, Python adds what the name may have been meant to be.
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)


@overload
def suggests_arguments(target: Explained, /) -> Explained: ...
@overload
def suggests_arguments(*, further: Iterable[str]) -> Callable[[Explained], Explained]: ...
def suggests_arguments(target: Any = None, /, *, further: Iterable[str] = ()) -> Any:
    """Decorates a class or function: an unknown keyword argument raises an error that names the right one.

    Args: target – class or function; its signature stays as it is, and a call that succeeds costs one more Python call;
        further – the names that the target takes as `**others`.
    """

    def decorated(target: Any) -> Any:
        function = getattr(target, "__init__") if isinstance(target, type) else target  # noqa: B009  mypy refuses target.__init__

        @wraps(function)
        def call(*arguments: Any, **settings: Any) -> Any:
            try:
                return function(*arguments, **settings)
            except TypeError as error:
                refuse_unknown(target, settings, error, (*arguments_of(function), *further))
                raise

        if isinstance(target, type):
            target.__init__ = call  # type: ignore[misc]
            return target
        return call

    return decorated if target is None else decorated(target)


def refuse_unknown(target: Callable[..., Any], settings: Iterable[str], error: TypeError, known: Iterable[str]) -> None:
    """Raises UnknownArgument if a call failed because of a keyword that is not known.

    Args: target – what was called; settings – the keywords; error – that of the call; known – the names of its arguments.
    """
    reason, known = str(error), tuple(dict.fromkeys(known))
    of_the_call = ("unexpected keyword", "required positional", "takes no arguments")
    if not isinstance(error, UnknownArgument) and not any(words in reason for words in of_the_call):
        return
    unknown = next((name for name in settings if name not in known), None)
    if unknown is None:
        return
    from ..synonyms import argument_of

    shown = getattr(target, "__qualname__", repr(target))
    some = f"one of the arguments {', '.join(known)}" if known else "no arguments"
    advice = argument_of(unknown, known) or "leave it out"
    raise UnknownArgument(f"{shown}: expected {some}; got {unknown}=; {advice}") from None


def arguments_of(function: Callable[..., Any]) -> list[str]:
    """The names that may be given as keywords."""
    keywords = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, one in inspect.signature(function).parameters.items() if one.kind in keywords and name != "self"]
