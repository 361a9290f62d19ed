"""The console that the commands print to."""

from __future__ import annotations

from rich.console import Console


def new_console(quiet: bool = False) -> Console:
    """A console of rich that prints names as they are: numbers in no colour, and no emoji for `:cat:` in the name of a file.

    Args: quiet – print nothing.
    """
    return Console(highlight=False, emoji=False, quiet=quiet)
