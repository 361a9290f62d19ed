"""A line that says what happens while something is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")


def watch(console: Console, work: Callable[[Callable[[str], None]], T], log: bool = False) -> T:
    """Runs `work(progress)` under a line that says what happens, where somebody is there to read it.

    Args: log – whether it is printed in lines with the seconds so far where nobody is: but for the rounds of a measurement,
        everything that may take long, so that a log tells where time went and where it ended.
    """
    if not console.is_terminal:
        begun = time.monotonic()

        def note(what: str) -> None:
            if log and ": round " not in what:
                console.print(f"{time.monotonic() - begun:6.1f} s  {what}", markup=False, highlight=False, soft_wrap=True)

        return work(note)
    from rich.markup import escape

    # Drawn once a second: more often would be work on the cores that are being measured.
    with console.status("getting ready", refresh_per_second=1.0) as status:
        return work(lambda what: status.update(escape(what)))
