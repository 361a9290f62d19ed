"""Notices when a setting of a layer or a loss changes, so that what was captured with the old one is not replayed again."""

from __future__ import annotations

from itertools import count
from typing import Any

OURS = f"{__name__.partition('.engine.')[0]}."
"""What the names of our own modules of layers and losses begin with."""
_numbers = count(1)
_latest = 0


class Revised:
    """Base of layers and losses: setting an attribute that was there already makes a new revision.

    Class attribute recordable: a pass of a class outside this package is captured and replayed only where the class says
    `recordable = True`, which promises that forward, backward and evaluate do nothing but call their tape and its backend.
    A class of this package is taken as such, unless it says False.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        known = name in self.__dict__
        super().__setattr__(name, value)
        if known:
            revise()


def revise() -> None:
    """Makes a new revision, for other changes of what a step has to do."""
    global _latest
    _latest = next(_numbers)


def revision() -> int:
    """A number that grows whenever an attribute of any layer or loss is set again."""
    return _latest


def is_recordable(thing: Revised) -> bool:
    """What its own class says; where that says nothing, whether it is of this package."""
    cls = type(thing)
    return bool(cls.__dict__.get("recordable", cls.__module__.startswith(OURS)))
