"""Errors that name the right thing where a user writes the name that another library has for it.

The names are in synonyms.py, which is imported only when such an error is raised.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..errors import UnknownArgument, UnknownAttribute

Explained = TypeVar("Explained", bound=Callable[..., Any])
TRAINING, ESTIMATOR, PREDICTION = "training", "estimator", "prediction"
"""What a caller is about to do: parts of synonyms.ELSEWHERE."""


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
def suggests_arguments(*, further: Iterable[str] = (), use: str = TRAINING) -> Callable[[Explained], Explained]: ...
def suggests_arguments(target: Any = None, /, *, further: Iterable[str] = (), use: str = TRAINING) -> Any:
    """Decorates a class or function: arguments that it does not take raise an error that names the right ones.

    Args: target – class or function; its signature stays as it is, and a call that succeeds costs one more Python call;
        further – the names that the target takes as `**others`; use – what the caller is about to do, a part of
        synonyms.ELSEWHERE: it says where settings are given that the target has no argument for.
    """

    def decorated(target: Any) -> Any:
        function = getattr(target, "__init__") if isinstance(target, type) else target  # noqa: B009  mypy refuses target.__init__

        @wraps(function)
        def call(*arguments: Any, **settings: Any) -> Any:
            try:
                return function(*arguments, **settings)
            except TypeError as error:
                of_class = not isinstance(target, type) and "self" in inspect.signature(function).parameters
                shown = f"{type(arguments[0]).__name__}.{function.__name__}" if of_class else target.__qualname__
                refuse_unknown(shown, settings, error, (*arguments_of(function), *further), use)
                refuse_places(shown, inspect.signature(function), arguments, settings)
                raise

        if isinstance(target, type):
            target.__init__ = call  # type: ignore[misc]
            return target
        return call

    return decorated if target is None else decorated(target)


def refuse_unknown(
    target: str, settings: Iterable[str], error: TypeError, known: Iterable[str], use: str = TRAINING
) -> None:
    """Raises UnknownArgument if a call failed because of a keyword that is not known.

    Args: target – the name of what was called; settings – the keywords; error – that of the call; known – the names of its
        arguments; use – see `suggests_arguments`.
    """
    reason, known = str(error), tuple(dict.fromkeys(known))
    of_the_call = ("unexpected keyword", "required positional", "takes no arguments")
    if not isinstance(error, UnknownArgument) and not any(words in reason for words in of_the_call):
        return
    unknown = next((name for name in settings if name not in known), None)
    if unknown is None:
        return
    from ..synonyms import argument_of

    some = f"one of the arguments {', '.join(known)}" if known else "no arguments"
    advice = argument_of(unknown, known, use) or "leave it out"
    raise UnknownArgument(f"{target}: expected {some}; got {unknown}=; {advice}") from None


def refuse_places(
    target: str, signature: inspect.Signature, arguments: Sequence[Any], settings: Mapping[str, Any]
) -> None:
    """Raises UnknownArgument if a call gave an argument twice, by its place and its name, or more without names than there are.

    Args: target – the name of what was called; signature – its own: what it calls may have failed instead.
    """
    parameters = list(signature.parameters.values())
    if any(one.kind == one.VAR_POSITIONAL for one in parameters):
        return
    places = [one.name for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    named = [one.name for one in parameters if one.kind in _NAMED and one.name != "self"]
    for name, given in zip(places, arguments, strict=False):
        if name in settings:
            raise UnknownArgument(
                f"{target}: expected {name} once; got {given!r:.60} in its place and {name}={settings[name]!r:.60}; write "
                f"the name of each: {', '.join(f'{one}=' for one in named)}"
            ) from None
    if len(arguments) > len(places):
        own = len(places) - ("self" in places)
        most = f"at most {own} argument{'' if own == 1 else 's'} without a name; got one more"
        names = f"write the name of each: {', '.join(f'{one}=' for one in named)}" if named else "leave it out"
        raise UnknownArgument(f"{target}: expected {most}, {arguments[len(places)]!r:.60}; {names}") from None


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def arguments_of(function: Callable[..., Any]) -> list[str]:
    """The names that may be given as keywords."""
    return [name for name, one in inspect.signature(function).parameters.items() if one.kind in _NAMED and name != "self"]
