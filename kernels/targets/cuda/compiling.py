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
    # A child process forked while another thread compiles would wait forever for a lock that no thread of it holds.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def compiled(function: Callable[..., object], make: Callable[[bool], Compiled]) -> Compiled:
    """The result of `make`, read from the kernel cache or stored there if possible.

    Entries that are damaged, or that others could have written, are removed and compiled again. If the folder of the cache is
    full or missing, nothing is cached.

    Args: function – the function to compile; make – compiles it; its argument says whether Numba may use the cache.
    """
    source = Path(function.__code__.co_filename)
    with uninterrupted():
        if source.is_file():  # Numba stores machine code next to the source
            for again in (True, False):
                try:
                    entries.require_private(source)
                    made = make(True)
                except OSError:
                    break
                except Exception as error:  # damaged entries may raise anything; errors of the kernel itself are raised again
                    if isinstance(error, MemoryError) or is_exhausted(error):
                        raise  # not caused by the entry
                    if again:
                        entries.remove(source)
                else:
                    entries.seal(source)
                    return made
        return make(False)
