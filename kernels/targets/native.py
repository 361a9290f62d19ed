"""Compiled kernels that are called without the interpreter: their arguments lie as words in memory, in the order of the call.

A word is 64 bits wide. An array is its address and its extents, a number is its bits. A whole pass through a network is then
a table of (entry, address of its words), which `march` walks with the GIL released, on as many threads as call it.
"""

from __future__ import annotations

import ctypes
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.numpy_support import as_dtype

from .blas import blas
from .compiling import compiled
from .source import HEADER, build

WORD = ir.IntType(64)


@intrinsic  # type: ignore[untyped-decorator]
def array_pointer(_: Any, address: Any, dtype: Any) -> Any:
    """A pointer to numbers of that type from a whole number."""
    pointer = types.CPointer(dtype.dtype)

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return pointer(address, dtype), code


def _caller(count: int) -> Any:
    """A call of the C function at an address, with `count` words as arguments, none returned."""

    def typer(_: Any, address: Any, *arguments: Any) -> Any:
        def code(context: Any, builder: Any, _: Any, values: Any) -> Any:
            kind = ir.FunctionType(ir.VoidType(), [WORD] * count)
            builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
            return context.get_dummy_value()

        return types.void(address, *arguments), code

    return typer


@intrinsic  # type: ignore[untyped-decorator]
def call_1(context: Any, address: Any, a: Any) -> Any:
    """address(a)."""
    return _caller(1)(context, address, a)


@intrinsic  # type: ignore[untyped-decorator]
def call_2(context: Any, address: Any, a: Any, b: Any) -> Any:
    """address(a, b)."""
    return _caller(2)(context, address, a, b)


@intrinsic  # type: ignore[untyped-decorator]
def call_13(
    context: Any, address: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, i: Any, j: Any, k: Any,
    m: Any, n: Any,
) -> Any:  # fmt: skip
    """address(a, …, n)."""
    return _caller(13)(context, address, a, b, c, d, e, f, g, h, i, j, k, m, n)


@intrinsic  # type: ignore[untyped-decorator]
def arrive(_: Any, address: Any) -> Any:
    """Adds 1 to the word at an address, visible to all threads."""

    def code(context: Any, builder: Any, _: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], WORD.as_pointer())
        builder.atomic_rmw("add", pointer, ir.Constant(WORD, 1), "seq_cst")
        return context.get_dummy_value()

    return types.void(address), code


@intrinsic  # type: ignore[untyped-decorator]
def arrived(_: Any, address: Any) -> Any:
    """The word at an address, as other threads left it."""

    def code(_: Any, builder: Any, __: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], WORD.as_pointer())
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(address), code


@intrinsic  # type: ignore[untyped-decorator]
def exchange(_: Any, address: Any, value: Any) -> Any:  # noqa: ARG001
    """Puts a word at an address and gives the one that was there, as one act."""

    def code(_: Any, builder: Any, __: Any, values: Any) -> Any:
        pointer = builder.inttoptr(values[0], WORD.as_pointer())
        return builder.atomic_rmw("xchg", pointer, values[1], "seq_cst")

    return types.int64(address, types.int64), code


WORDS_USED = {
    "array_pointer": array_pointer,
    "call_1": call_1,
    "call_2": call_2,
    "call_13": call_13,
    "arrive": arrive,
    "arrived": arrived,
    "exchange": exchange,
    "carray": numba.carray,
    "numba": numba,
}
"""What generated modules may call."""


def entry_text(name: str, text: str, parameters: Mapping[str, types.Type], fastmath: str) -> str:
    """A module with NAME_entry(address), which takes the arguments of the last function of `text` from memory and calls it.

    Args: text – source of a module whose last function is the kernel, called `name`; parameters – its arguments; fastmath –
        the option of that name, spelled out.
    """
    start = text.rindex(f"def {name}(")
    arguments, position = [], 0
    for kind in parameters.values():
        if isinstance(kind, types.Array):
            extents = ", ".join(f"words[{position + 1 + k}]" for k in range(kind.ndim))
            pointer = f"array_pointer(words[{position}], np.{kind.dtype})"
            arguments.append(f"carray({pointer}, ({extents},))")
            position += 1 + kind.ndim
        else:
            arguments.append(f"carray(array_pointer(address + {8 * position}, np.{kind}), (1,))[0]")
            position += 1
    return (
        f'{text[:start]}@numba.njit(error_model="numpy", fastmath={fastmath})\n{text[start:]}\n\n'
        f"def {name}_entry(address):\n"
        f"    words = carray(array_pointer(address, np.int64), ({position},))\n"
        f"    {name}({', '.join(arguments)})\n"
    )


def compile_entry(name: str, text: str, globals_: Mapping[str, Any]) -> Any:
    """The C function (address of words) of a module that defines NAME_entry; tables of calls hold its `address`."""
    function = build(f"{name}_entry", text, {**WORDS_USED, **globals_})
    return compiled(
        function, lambda saved: numba.cfunc(types.void(types.intp), cache=saved, error_model="numpy")(function)
    )


def words_of(parameters: Mapping[str, types.Type], arguments: Sequence[Any]) -> list[int]:
    """The arguments of a kernel as whole numbers; raises a TypeError where an array is not what the kernel was made for."""
    words: list[int] = []
    for kind, value in zip(parameters.values(), arguments, strict=True):
        if isinstance(kind, types.Array):
            if value.dtype != as_dtype(kind.dtype) or value.ndim != kind.ndim or not value.flags.c_contiguous:
                raise TypeError(
                    f"expected a row-major array of {kind.ndim} dimensions of {kind.dtype}; got {value.dtype} with shape "
                    f"{value.shape} and strides {value.strides}"
                )
            words += [address_of(value), *value.shape]
        elif kind == types.float32:
            words.append(struct.unpack("<i", struct.pack("<f", float(value)))[0])
        elif kind == types.float64:
            words.append(struct.unpack("<q", struct.pack("<d", float(value)))[0])
        else:
            words.append(int(value))
    return words


class Address(int):
    """A whole number that is a place in memory."""


def address_of(array: Any) -> Address:
    """Where the first element of a NumPy array lies."""
    return Address(array.__array_interface__["data"][0])


# Products

GEMM_TEXT = (
    HEADER
    + """
def gemm_entry(address):
    gemm = carray(array_pointer(address, np.int64), (1,))[0]
    call_13(
        gemm, address + 8, address + 16, address + 24, address + 32, address + 40, address + 48,
        carray(array_pointer(address + 56, np.int64), (1,))[0], address + 64,
        carray(array_pointer(address + 72, np.int64), (1,))[0], address + 80, address + 88,
        carray(array_pointer(address + 96, np.int64), (1,))[0], address + 104)
"""
)


@cache
def gemm_entry() -> Any:
    """A product with the words of `gemm_words`."""
    return compile_entry("gemm", GEMM_TEXT, {})


def gemm_words(
    dtype: np.dtype[Any], a: tuple[Address, int, bool], b: tuple[Address, int, bool], out: tuple[Address, int],
    extents: tuple[int, int, int], accumulate: bool,
) -> list[int]:  # fmt: skip
    """Words of out [m, n] (+)= op(a) [m, k] op(b) [k, n], all row-major.

    Args: a, b – (address, elements from row to row, whether op is the transpose); out – (address, elements from row to
        row); extents – (m, n, k).
    """
    m, n, k = extents
    numbers = [types.float32 if dtype == np.float32 else types.float64] * 2
    one, beta = words_of(dict(enumerate(numbers)), (1.0, float(accumulate)))  # type: ignore[arg-type]
    gemm = blas().sgemm if dtype == np.float32 else blas().dgemm
    # Fortran sees every row-major matrix transposed, so it is asked for out^T = op(b)^T op(a)^T.
    return [
        gemm, ord("T" if b[2] else "N"), ord("T" if a[2] else "N"), n, m, k, one, b[0], max(b[1], 1),
        a[0], max(a[1], 1), beta, out[0], max(out[1], 1),
    ]  # fmt: skip


# Walking

WALK_TEXT = (
    HEADER
    + """
@numba.njit(error_model="numpy")
def words(address, count):
    return carray(array_pointer(address, np.int64), (count,))


@numba.njit(error_model="numpy")
def now(clock, stamp):
    call_2(clock, CLOCK, stamp.ctypes.data)
    return stamp[0] * 1000000000 + stamp[1]


@numba.njit(error_model="numpy")
def march(job, me, threads, give_way, clock):
    calls, tasks, phases, marks, times, deadline = job[0], job[1], job[2], job[4], job[5], job[7]
    stop, taken = marks + 8, words(marks + 16, 1)
    timed = times != 0 and clock != 0
    stamp = np.zeros(2, np.int64)
    before = i64(0)
    expected = i64(0)
    for step in range(job[6]):
        if me == 0:
            taken[0] = step
            if step > 0 and deadline != 0 and clock != 0 and arrived(stop) == 0 and now(clock, stamp) > deadline:
                exchange(stop, LATE)
        for phase in range(job[3]):
            if threads > 1 and step + phase > 0:
                expected += threads
                arrive(marks)
                wait(marks, expected, give_way)
            if phase == 0 and arrived(stop) != 0:
                return
            edges = words(phases + 8 * phase, 2)
            for task in range(edges[0] + me, edges[1], threads):
                part = words(tasks + 16 * task, 2)
                for number in range(part[0], part[1]):
                    call = words(calls + 16 * number, 2)
                    if timed:
                        before = now(clock, stamp)
                    call_1(call[0], call[1])
                    if timed:
                        words(times + 8 * number, 1)[0] += now(clock, stamp) - before
    if me == 0:
        taken[0] = job[6]


@numba.njit(error_model="numpy")
def wait(address, count, give_way):
    spins = 0
    while arrived(address) < count:
        spins += 1
        if spins > SPINS and give_way != 0:
            call_1(give_way, 0)


def part(job, me, threads, give_way, clock):
    march(words(job, JOB), me, threads, give_way, clock)


def lead(box, job, threads):
    if exchange(box + 8 * AT_BUSY, 1) == 1:
        return 0
    system = words(box + 8 * AT_SYSTEM, 6)
    theirs, ours = words(job, JOB), words(box + 8 * AT_JOB, JOB)
    for k in range(JOB):
        ours[k] = theirs[k]
    exchange(box + 8 * AT_DONE, 0)
    exchange(box, ((arrived(box) >> 8) + 1) * 256 + threads)
    call_1(system[2], box + 8 * AT_LOCK)
    if words(box + 8 * AT_SLEEPERS, 1)[0] > 0:
        call_1(system[5], box + 8 * AT_BELL)
    call_1(system[3], box + 8 * AT_LOCK)
    if threads > 0:
        march(ours, 0, threads, system[0], system[1])
        wait(box + 8 * AT_DONE, threads - 1, system[0])
    exchange(box + 8 * AT_BUSY, 0)
    return 1


def serve(box, me, seen):
    system = words(box + 8 * AT_SYSTEM, 6)
    give_way, clock = system[0], system[1]
    stamp = np.zeros(2, np.int64)
    while True:
        spins = 0
        asleep_at = i64(0)
        while arrived(box) == seen:
            spins += 1
            if spins % SPINS == 0:
                call_1(give_way, 0)
                moment = now(clock, stamp)
                if asleep_at == 0:
                    asleep_at = moment + PATIENCE
                if moment > asleep_at:
                    call_1(system[2], box + 8 * AT_LOCK)
                    words(box + 8 * AT_SLEEPERS, 1)[0] += 1
                    while arrived(box) == seen:
                        call_2(system[4], box + 8 * AT_BELL, box + 8 * AT_LOCK)
                    words(box + 8 * AT_SLEEPERS, 1)[0] -= 1
                    call_1(system[3], box + 8 * AT_LOCK)
        seen = arrived(box)
        threads = seen & 255
        if threads == 0:
            return
        if me < threads:
            march(words(box + 8 * AT_JOB, JOB), me, threads, give_way, clock)
            arrive(box + 8 * AT_DONE)
"""
)
"""How threads walk a job together.

A job is JOB words: the addresses of calls [calls, 2] (entry, address of its words), of tasks [tasks, 2] (first call, call after
the last) and of phases (first task of each, and the number of tasks), the number of phases, the address of three marks, that of
nanoseconds by call, or 0, the number of steps, in each of which all phases are run, and the time of CLOCK after which no step
begins, or 0. In every phase thread k of n does tasks k, k + n, …, and waits for the others before the next one. Tasks and their
order do not depend on n, so neither do the results. The marks: how often a thread has come to wait, 0 before; what ends the job
before the next step, which a call may set to 1, and which is LATE after the deadline; the number of steps that were run.

Threads find jobs in a box: word 0 is 256 times the number of the job plus n, and changes last; n = 0 sends them home. AT_DONE
counts who is done; AT_BUSY is 1 while somebody leads; AT_SYSTEM holds the addresses of SYSTEM; AT_LOCK and AT_BELL are a mutex
and a condition. `lead` hands out a job and is thread 0 of it, or returns 0 where another one leads; `serve` is a thread's life:
after each job it spins for PATIENCE nanoseconds, yielding the core to whoever wants it, and then sleeps until the bell rings;
`part` is one thread's part, for those who come together otherwise.
"""

SYSTEM = (
    "sched_yield", "clock_gettime", "pthread_mutex_lock", "pthread_mutex_unlock", "pthread_cond_wait",
    "pthread_cond_broadcast",
)  # fmt: skip
BOX = {
    "SPINS": 200, "PATIENCE": 300_000, "JOB": 8, "AT_DONE": 8, "AT_JOB": 16, "AT_SLEEPERS": 24, "AT_BUSY": 25,
    "AT_SYSTEM": 32, "AT_LOCK": 40, "AT_BELL": 56, "SIZE": 72, "LATE": 2,
}  # fmt: skip
CLOCK = getattr(time, "CLOCK_MONOTONIC", 0)
"""The number of the clock that never goes back: 1 in Linux, 6 in macOS."""
MOST_THREADS = 255


class ThreadWalk(NamedTuple):
    """The compiled functions of WALK_TEXT."""

    part: Callable[[int, int, int, int, int], None]
    lead: Callable[[int, int, int], int]
    serve: Callable[[int, int, int], None]


@cache
def walk() -> ThreadWalk:
    """Compiles them."""
    settings = "".join(f"{name} = {value}\n" for name, value in {**BOX, "CLOCK": CLOCK}.items())
    text = WALK_TEXT.replace(HEADER, HEADER + settings)
    made = build("serve", text, WORDS_USED).__globals__
    word = types.int64
    signatures = {"part": types.void(*[word] * 5), "lead": word(word, word, word), "serve": types.void(word, word, word)}
    return ThreadWalk(**{name: _free(made[name], signature) for name, signature in signatures.items()})


def _free(function: Any, signature: Any) -> Any:
    """The function compiled for that signature, without the GIL."""
    return compiled(
        function, lambda saved: numba.njit([signature], error_model="numpy", nogil=True, cache=saved)(function)
    )


@cache
def system_call(name: str) -> int:
    """The address of a function of the C library, or 0 where it has none of that name."""
    if sys.platform == "win32":
        return 0
    found = getattr(ctypes.CDLL(None), name, None)
    return 0 if found is None else ctypes.cast(found, ctypes.c_void_p).value or 0
