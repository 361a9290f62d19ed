"""Compiles generated functions with Numba, or loads them from the kernel cache; safe with interrupts and forks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from numba.core.compiler_lock import global_compiler_lock

from ...interrupts import uninterrupted
from ..device_memory import is_exhausted
from . import entries

Compiled = TypeVar("Compiled")

if hasattr(os, "register_at_fork"):
    # A child that is forked while another thread compiles would wait for ever for that thread, which it does not have.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def compiled(function: Callable[..., object], make: Callable[[bool], Compiled]) -> Compiled:
    """What `make` compiles; kept in the cache, and taken from there, where that can be.

    Entries that are damaged, or that others could have written, are made anew. A folder that is full, or gone, costs time and
    nothing else.

    Args: function – that is compiled; make – compiles it; called with whether Numba may read and write the cache.
    """
    source = Path(function.__code__.co_filename)
    with uninterrupted():
        if source.is_file():  # Numba keeps machine code beside its source
            for again in (True, False):
                try:
                    entries.require_private(source)
                    made = make(True)
                except OSError:
                    break
                except Exception as error:  # damaged entries may raise anything; what is wrong with the kernel comes again
                    if isinstance(error, MemoryError) or is_exhausted(error):
                        raise  # that says nothing of the entry
                    if again:
                        entries.remove(source)
                else:
                    entries.seal(source)
                    return made
        return make(False)
