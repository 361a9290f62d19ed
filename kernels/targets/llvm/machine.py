"""LLVM's assembly → machine code in this process, kept in the kernel cache.

Each object file of the cache begins with a checksum of the rest; one that does not match is made anew.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from ...interrupts import uninterrupted
from .. import cache as kernel_cache

CHECKSUM = 32
"""Bytes of the checksum before an object file."""

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A child that is forked while another thread compiles would wait forever for that thread, which it does not have.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class Machine:
    """This processor's compiler, and the engine that holds the code which it made.

    Attributes: loaded – digest of what a module was made of → the addresses of its functions.
    """

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        features = llvm.get_host_cpu_features().flatten()
        processor = llvm.get_host_cpu_name()
        self.target = llvm.Target.from_default_triple().create_target_machine(
            processor, features, opt=3, reloc="default", codemodel="jitdefault", jit=True
        )
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), self.target)
        parts = (*llvm.llvm_version_info, self.target.triple, processor, features, _own_source())
        self.loaded: dict[str, dict[str, int]] = {}
        self.identity = "\n".join(map(str, parts))

    def object_of(self, assembly: str) -> bytes:
        """The object file of a module, optimised for this processor."""
        module = llvm.parse_assembly(assembly)
        module.triple, module.data_layout = self.target.triple, str(self.target.target_data)
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = options.loop_interleaving = True
        builder = llvm.create_pass_builder(self.target, options)
        builder.getModulePassManager().run(module, builder)
        return bytes(self.target.emit_object(module))

    def load(self, code: bytes) -> None:
        """Makes the functions of an object file callable."""
        self.engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self.engine.finalize_object()


_machine: Machine | None = None


def machine() -> Machine:
    """That of this process, which lives as long as the process does, because its code does."""
    global _machine
    if _machine is None:
        with _lock, uninterrupted():
            if _machine is None:
                _machine = Machine()
    return _machine


@cache
def _own_source() -> str:
    """A digest of the compiler itself: code that another version of it made is not taken."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


Assembler = Callable[[Callable[[str], str]], str]
"""Makes the assembly of a module, given what names a symbol in it."""


def functions(name: str, text: str, symbols: tuple[str, ...], assembly: Assembler) -> dict[str, int]:
    """The addresses of compiled functions, from the kernel cache where it has them.

    Args: name – of the file in the cache; text – all that the code depends on; symbols – of the functions; assembly.
    """
    made = machine()
    digest = hashlib.sha256(f"{made.identity}\n{text}".encode()).hexdigest()[:32]

    def unique(symbol: str) -> str:
        return f"{symbol}_{digest}"

    with _lock, uninterrupted():
        found = made.loaded.get(digest)
        if found is None:
            code = _cached(name, digest)
            if code is None:
                code = made.object_of(assembly(unique))
                kernel_cache.write(f"{name[:80]}_{digest}.o", hashlib.sha256(code).digest() + code)
            made.load(code)
            found = made.loaded[digest] = {symbol: made.engine.get_function_address(unique(symbol)) for symbol in symbols}
        return found


def _cached(name: str, digest: str) -> bytes | None:
    """The object file of that digest, if it is there and whole."""
    content = kernel_cache.read(f"{name[:80]}_{digest}.o")
    if content is None or hashlib.sha256(content[CHECKSUM:]).digest() != content[:CHECKSUM]:
        return None
    return content[CHECKSUM:]


class Native:
    """A compiled C function of whole numbers.

    Attributes: address.
    """

    def __init__(self, address: int, arguments: int = 1, returns: bool = False) -> None:
        self.address = address
        words = [ctypes.c_int64] * arguments
        self._call: Any = ctypes.CFUNCTYPE(ctypes.c_int64 if returns else None, *words)(address)

    def __call__(self, *arguments: int) -> int:
        """Calls it with the GIL released."""
        result: int = self._call(*arguments)
        return result
