"""Converts options declared as fields of a frozen dataclass to a typer command, and back to a command line.

The options themselves are declared elsewhere; this module is independent of the commands.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_args, get_type_hints

from typer.models import ParameterInfo

from .options import Debug


class Panel(str):
    """The heading under which --help lists an option, in its annotation."""


def command(run: Callable[..., None]) -> Callable[..., None]:
    """The function from which typer builds a command: it has the parameters of `run`, and --debug.

    Args: run – takes its options one by one, or all of them as `options`, whose type is a dataclass with a field for each.
    """
    kind = get_type_hints(run).get("options")
    hints = get_type_hints(kind or run, include_extras=True)
    parameters = [
        one.replace(kind=one.KEYWORD_ONLY, annotation=_in_panel(hints[name]))
        for name, one in inspect.signature(kind or run).parameters.items()
    ]
    parameters.append(inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug))

    def call(debug: bool, **given: Any) -> None:
        del debug
        if kind is None:
            run(**given)
        else:
            run(kind(**given))

    call.__name__, call.__doc__ = run.__name__, run.__doc__
    call.__annotations__ = {one.name: one.annotation for one in parameters}
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


def _in_panel(hint: Any) -> Any:
    """An annotation with its panel set as typer expects it."""
    kind, *notes = get_args(hint)
    panels = [note for note in notes if isinstance(note, Panel)]
    if not panels:
        return hint
    (shown,) = (copy(note) for note in notes if isinstance(note, ParameterInfo))
    shown.rich_help_panel = panels[0]
    return Annotated[kind, shown]


def option_name(field: str) -> str:
    """The option of a field, such as "--batch-size"."""
    return f"--{field.replace('_', '-')}"


def changed(options: Any) -> dict[str, Any]:
    """The options that differ from their defaults, option -> value, such as {"--batch-size": 64}."""
    found = {field.name: (getattr(options, field.name), field.default) for field in fields(options)}
    return {option_name(name): value for name, (value, default) in found.items() if value != default != MISSING}


def command_line(name: str, options: Any) -> str:
    """The command line for these options; floats have four digits.

    Args: name – of the command.
    """
    words = ["fusedstep", name, *(getattr(options, field.name) for field in fields(options) if field.default is MISSING)]
    for option, value in changed(options).items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bool):
                words.append(option if one else f"--no-{option[2:]}")
            else:
                words += [option, f"{one:.4g}" if isinstance(one, float) else str(one)]
    return shlex.join(words)
