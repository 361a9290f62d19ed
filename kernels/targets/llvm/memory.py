"""Words of 64 bits at addresses, and calls of functions at addresses, for kernels that walk tables.

In a kernel each is an instruction of the processor; called from Python they do the same through ctypes, without being atomic.
"""

from __future__ import annotations

import ctypes
from typing import Any


def _word(address: int) -> Any:
    return ctypes.c_int64.from_address(address)


def load(address: int) -> int:
    """The word at an address."""
    return int(_word(address).value)


def store(address: int, value: int) -> None:
    """Puts a word at an address."""
    _word(address).value = value


def load_atomic(address: int) -> int:
    """The word at an address, as other threads left it."""
    return load(address)


def add_atomic(address: int, value: int) -> int:
    """Adds to the word at an address, visible to all threads; returns what it was before."""
    before = load(address)
    store(address, before + value)
    return before


def exchange(address: int, value: int) -> int:
    """Puts a word at an address and returns the one that was there, as one act."""
    before = load(address)
    store(address, value)
    return before


_reserved: list[Any] = []


def reserve(words: int) -> int:
    """The address of that many words (a constant), which a compiled function has until it returns, and Python for good."""
    _reserved.append((ctypes.c_int64 * words)())
    return ctypes.addressof(_reserved[-1])


def call(function: int, *arguments: int) -> None:
    """Calls the C function at an address, with words as arguments; what it returns is dropped."""
    ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(arguments))(function)(*arguments)


INSTRUCTIONS: dict[Any, tuple[str, bool]] = {
    load: ("load i64, ptr {pointer}, align 8", True),
    store: ("store {value}, ptr {pointer}, align 8", False),
    load_atomic: ("load atomic i64, ptr {pointer} seq_cst, align 8", True),
    add_atomic: ("atomicrmw add ptr {pointer}, {value} seq_cst", True),
    exchange: ("atomicrmw xchg ptr {pointer}, {value} seq_cst", True),
    reserve: ("", True),
    call: ("", False),
}
"""The instruction of each in LLVM's assembly, and whether it has a result."""
