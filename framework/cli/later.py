"""Commands of packages above this one: known only by name, and imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

from .declared import command
from .single_values import Command

LATER = {
    "bench": (
        "benchmarks.commands.bench_command",
        "Measure the time of a training step, compared with its limit and other libraries.",
    ),
    "profile": (
        "benchmarks.commands.profile_command",
        "Show the time of one training step by layer and pass.",
    ),
}
"""Name -> module inside the package with a function of that name, and the first line of its help."""


STYLE: dict[str, Any] = {
    "rich_markup_mode": "markdown",
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
"""How our commands look, here and in application.py."""


class Later(TyperCommand):
    """A placeholder in the list of commands that loads the real command when it is called.

    Args: name – a key of LATER.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, help=LATER[name][1])

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Loads the real command and returns its context."""
        return load(str(self.name)).make_context(info_name, args, parent, **extra)


def load(name: str) -> Any:
    """The real command."""
    package = __package__.removesuffix(".framework.cli")
    function = getattr(import_module(f"{package}.{LATER[name][0]}"), name)
    single = typer.Typer(**STYLE)
    single.command(name, cls=Command)(command(function))
    return typer.main.get_command(single)
