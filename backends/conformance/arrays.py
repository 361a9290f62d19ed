"""Checks of creating, converting, copying and reading arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..contract import Backend
from .comparison import exactly, expect, holds, host, normal
from .suite import REALS, ConformanceError, Sizes, check

DTYPES = ("float32", "float64", "int32", "uint8", "uint32")


class Lent:
    """A foreign array on the host that supports only the DLPack protocol."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self._values = values

    def __dlpack__(self, **settings: Any) -> Any:
        """The capsule."""
        return self._values.__dlpack__(**settings)

    def __dlpack_device__(self) -> tuple[int, int]:
        """The CPU."""
        return self._values.__dlpack_device__()


@check("arrays", dtype=DTYPES)
def empty_and_zeros(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """`empty` and `zeros` for shapes with one and two axes, and without elements."""
    for shape in ((0,), (1,), (65,), *sizes.matrices):
        host(backend, backend.empty(shape, dtype), shape, dtype, f"empty {shape}")
        holds(backend, backend.zeros(list(shape), dtype), np.zeros(shape, dtype), f"zeros {shape}")


@check("arrays", dtype=REALS)
def filled(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """`fill` sets every element of a vector, matrix or part of an array, and no other element."""
    for shape in ((0,), (65,), *sizes.matrices):
        array = backend.zeros(shape, dtype)
        backend.fill(array, 2.5)
        holds(backend, array, np.full(shape, 2.5, dtype), f"fill {shape}")
    flat = backend.zeros((65,), dtype)
    backend.fill(flat[3:20], -1.0)
    wanted = np.zeros(65, dtype)
    wanted[3:20] = -1.0
    exactly(backend.to_numpy(flat), wanted, "fill of elements 3 to 19")


@check("arrays")
def float32_is_the_default(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """Arrays are float32 if no dtype is given."""
    host(backend, backend.empty((2,)), (2,), "float32", "empty")
    host(backend, backend.zeros((2,)), (2,), "float32", "zeros")


@check("arrays", dtype=DTYPES)
def there_and_back(backend: Backend, sizes: Sizes, dtype: str) -> None:
    """`asarray` keeps dtype and values; `to_numpy` returns them as a copy."""
    for shape in ((0,), (65,), *sizes.matrices):
        values = (normal("float64", shape) * 100).clip(0, 255).astype(dtype)
        there = backend.asarray(values.copy())
        back = host(backend, there, shape, dtype, f"asarray {shape}")
        exactly(back, values, f"asarray {shape}")
        if back.size:
            back[...] = 7
            exactly(backend.to_numpy(there), values, "the array after its copy on the host was changed")


@check("arrays")
def special_numbers(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """NaN, infinities, signed zeros and extreme numbers are preserved by `asarray` and `to_numpy`."""
    for dtype in REALS:
        values = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, np.finfo(dtype).tiny, np.finfo(dtype).max], dtype)
        exactly(backend.to_numpy(backend.asarray(values)), values)


@check("arrays")
def conversions(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """`asarray` converts lists, numbers, booleans and other dtypes, and returns the same object if nothing has to change."""
    for given, wanted in (
        ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]], "f4")),
        ([0.5, 1.5], np.array([0.5, 1.5])),
        ([True, False], np.array([1, 0], "i4")),
        (np.arange(3), np.arange(3, dtype="i4")),
        (np.float64(2.5), np.float32(2.5)),
    ):
        holds(backend, backend.asarray(given, str(wanted.dtype)), wanted, f"{given!r} to {wanted.dtype}")
    own = backend.asarray(normal("float32", (3, 4)))
    expect(backend.asarray(own) is own and backend.asarray(own, "float32") is own, "expected the same object back")
    wide = backend.asarray(own, "float64")
    holds(backend, wide, backend.to_numpy(own).astype("f8"), "own array to float64")
    exactly(backend.to_numpy(backend.asarray(wide, "float32")), backend.to_numpy(own), "back to float32")


@check("arrays", dtype=REALS)
def any_layout(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """`asarray` accepts transposed, strided, reversed, column-major and read-only arrays."""
    base = normal(dtype, (8, 6))
    frozen = base.copy()
    frozen.flags.writeable = False
    for values in (base.T, base[::2, ::-1], base[:, 1:4], np.asfortranarray(base), frozen, frozen[::3].T, base[::-1]):
        array = backend.asarray(values)
        holds(backend, array, values, "asarray")
        doubled = backend.zeros(values.shape, dtype)
        backend.copy(array, doubled)
        exactly(backend.to_numpy(doubled), values, "copied")


@check("arrays", dtype=REALS)
def dlpack(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """`asarray` accepts arrays on the host of any library that supports DLPack."""
    values = normal(dtype, (3, 5))
    holds(backend, backend.asarray(Lent(values)), values, "asarray")
    exactly(backend.to_numpy(backend.asarray(Lent(values), "float64")), values.astype("f8"))


@check("arrays", dtype=REALS)
def copy_into_parts(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """`copy` from the backend and from the host into an array, some of its rows, and a reshaped part of a flat array."""
    values, more = normal(dtype, (6, 4)), normal(dtype, (2, 4), "more")
    out = backend.zeros((6, 4), dtype)
    backend.copy(values, out)
    exactly(backend.to_numpy(out), values, "from the host")
    backend.copy(backend.asarray(more), out[2:4, ...])
    values[2:4] = more
    exactly(backend.to_numpy(out), values, "into two rows")
    flat = backend.zeros((64,), dtype)
    view = backend.xp.reshape(flat[16:24], (2, 4))
    backend.copy(backend.asarray(more), view)
    wanted = np.zeros(64, dtype)
    wanted[16:24] = more.reshape(-1)
    exactly(backend.to_numpy(flat), wanted, "through a view of a flat array")
    view[...] = 0.0
    exactly(backend.to_numpy(flat), np.zeros(64, dtype), "a view set to zero")


@check("arrays", dtype=("float32", "float64", "int32"))
def take_rows(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """`take_rows` of matrices and vectors, with indices in any order, repeated, or none."""
    matrix, vector = (normal("float64", (9, 5)) * 50).astype(dtype), (normal("float64", (9,)) * 50).astype(dtype)
    for indices in ([3], [8, 0, 0, 5], [], list(range(9))):
        index = np.array(indices, np.int32)
        for values in (matrix, vector):
            taken = backend.take_rows(backend.asarray(values), backend.asarray(index))
            holds(backend, taken, values[index], f"rows {indices}")
            out = backend.empty((len(indices), *values.shape[1:]), dtype)
            expect(backend.take_rows(backend.asarray(values), backend.asarray(index), out) is out, "expected out back")
            exactly(backend.to_numpy(out), values[index], f"rows {indices} into an array")


@check("arrays", dtype=("float32", "float64", "int32", "uint8"))
def all_below(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """`all_below` compares numbers of any shape with the bound, and refuses negative ones."""
    numbers = np.array([[1, 2, 0], [3, 4, 0]], dtype)
    for shape in ((2, 3), (6,)):
        array = backend.asarray(numbers.reshape(shape))
        for bound, wanted in ((5, True), (100, True), (4, False), (1, False)):
            found = backend.all_below(array, bound)
            expect(found is wanted, f"expected {wanted} for numbers from 0 to 4 and the bound {bound}; got {found!r}")
    if dtype != "uint8":
        found = backend.all_below(backend.asarray(-numbers), 5)
        expect(found is False, f"expected False for negative numbers; got {found!r}")


@check("arrays")
def item_and_wait(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """`item` returns a float; `is_array` accepts only arrays; `synchronize` can be called."""
    value = backend.item(backend.total(backend.asarray(np.array([1.5, 2.0], "f4"))))
    expect(type(value) is float and value == 3.5, f"expected the float 3.5; got {value!r}")
    expect(backend.is_array(backend.zeros((1,))) and not backend.is_array([0.0]), "expected is_array to tell arrays from lists")
    backend.synchronize()


@check("arrays", dtype=REALS)
def sender(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """Work submitted after `send` reads the numbers of that call, not later ones, however far the host is ahead."""
    out, seen = backend.zeros((2, 3), dtype), backend.zeros((80, 2, 3), dtype)
    send, own = backend.sender(out), normal(dtype, (2, 3))
    for step in range(80):
        own[...] = step
        send([[float(step), 0.1, -step]] * 2 if step % 2 else own)
        backend.copy(out, seen[step, ...])
    steps = np.arange(80.0)[:, None, None]
    sent = np.where(steps % 2, np.concatenate([steps, 0.0 * steps + 0.1, -steps], axis=2), steps).astype(dtype)
    holds(backend, seen, np.broadcast_to(sent, (80, 2, 3)), "seen")


@check("arrays", dtype=REALS)
def slots(backend: Backend, sizes: Sizes, dtype: str) -> None:  # noqa: ARG001
    """The backend receives what the loader wrote into a slot, repeatedly, also if only some rows are used."""
    slot = backend.slot([((5, 3), dtype), ((5,), "int32")])
    for number, rows in enumerate((5, 2, 5, 4)):
        values, labels = normal(dtype, (rows, 3), number), np.arange(number, number + rows, dtype=np.int32)
        slot.begin()
        for room, given in zip(slot.host, (values, labels), strict=True):
            room[:rows] = given
        slot.send(rows)
        arrays = slot.receive(rows)
        for array, given in zip(arrays, (values, labels), strict=True):
            holds(backend, array, given, f"{rows} rows")
        slot.release()
    slot.close()


@check("arrays")
def memory(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """Out-of-memory errors are distinguished from others; free memory is a number of bytes, or unknown."""
    expect(backend.out_of_memory(MemoryError("1 GiB")), "expected a MemoryError to be a lack of memory")
    expect(not backend.out_of_memory(ValueError("wrong shape")), "expected a ValueError to be something else")
    free = backend.free_memory()
    expect(free is None or (isinstance(free, int) and free > 0), f"expected bytes or None; got {free!r}")
    saved = backend.asarray(np.arange(6.0))
    backend.trim_memory()
    exactly(backend.to_numpy(saved), np.arange(6.0), "an array in use, after trim_memory")


@check("arrays")
def work_may_be_exclusive(backend: Backend, sizes: Sizes) -> None:  # noqa: ARG001
    """`exclusive` is reentrant, also after an exception inside, and the backend works as usual within it."""
    x = normal("float32", (15,), 0)
    come_out = False
    try:
        with backend.exclusive():
            try:
                with backend.exclusive():
                    raise ArithmeticError
            except ArithmeticError:
                come_out = True
            with backend.exclusive():
                total = backend.item(backend.total(backend.asarray(x)))
    except RuntimeError as error:
        raise ConformanceError(f"exclusive() within exclusive(): {error}") from error
    expect(come_out, "what is raised within exclusive() does not come out")
    expect(abs(total - x.sum(dtype=np.float64)) < 1e-4, f"total of {x} within exclusive(): {total}")
