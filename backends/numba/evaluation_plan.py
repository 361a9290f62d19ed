"""A captured pass in evaluation mode: the parts that rows are cut into, and the threads' own tables and buffers.

Parts are small enough for their buffers to stay in the cache of a core, and do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from ...kernels.targets.blas import libraries
from ...kernels.targets.gemm.library import element_size
from ...kernels.targets.memory import aligned_empty, cache_per_core
from ...kernels.targets.native import address_of, gemm_columns, gemm_entry
from ..bounded_cache import BoundedCache
from ..defaults.evaluator import Array, EvaluationWork
from ..numpy.backend import NumpyBackend
from ..profiling import Label
from ..threads import num_threads, single_threaded_blas
from .capture import Call
from .replay import Replay
from .row_calls import MANY, SOME, RowCalls, Tables
from .row_walk import row_walk

ONE = 1
FEW = 3
"""Up to FEW rows are multiplied by the GEMM of this package if it was faster for SOME (see kernels/targets/gemm_choices.py),
otherwise by a kernel that reads the weight once for each of them, because libraries copy it first."""
COLUMNS, TOGETHER = 64, 32
"""Columns of a weight below which a further thread is not worth a product of few rows; cuts are at multiples of TOGETHER."""
COPIED = 128
"""Rows up to which inputs and results are copied to and from arrays whose addresses are known."""
PART_ROWS = 256, 512
"""Limits of the rows of a part where there are many; within them its buffers fit in half of the cache of a core. Products of
fewer rows are slow, because a library copies the weight for each."""
BUFFERS = 2**24
"""Bytes of the buffers of a part; where PART_ROWS take more, as with images, parts have fewer rows."""
CUT = (16, 128), (2, 16)
"""For the sake of other cores, few rows are cut into at most so many parts of at least so many rows."""
UNIT = 16
"""The number of parts is a multiple of this number or, if it is smaller, a power of two, for any number of threads."""
SHORT = 8e6
"""Floating-point operations of a pass that is not worth a second thread."""
SHORT_OF_FEW = 2e6
"""The same for up to FEW rows, which take as long as reading the weights does."""
LAUNCH = 4e9
"""Floating-point operations until an interrupt is handled: some hundredths of a second."""

WORDS = 11
"""Words of `walk_rows`."""

Own = TypeVar("Own")


class EvaluationPlan:
    """A pass for inputs of certain types, with any number of rows; several threads may run it at the same time.

    Args: backend, work – see Evaluator; inputs – see RowCalls.
    Raises: NotCapturable.
    """

    def __init__(self, backend: Any, work: EvaluationWork, inputs: Sequence[Array]) -> None:
        self._kernels = backend._kernels
        self.by_columns: set[int] = set()  # entries of kernels that compute a product by columns
        self._deterministic = work.deterministic
        self._tables: dict[int, Tables] = {}
        with backend.quiet():
            self.calls = calls = RowCalls(work, inputs)
            self.tables(ONE)
        low, high = PART_ROWS
        bytes_of_row = max(1, sum(extent.per_row for extent in calls.extents))
        self.part_rows = max(1, min(max(low, min(high, cache_per_core() // 2 // bytes_of_row)), BUFFERS // bytes_of_row))
        self._lanes: dict[int, list[_FixedArrays]] = {ONE: [], FEW: [], SOME: []}
        self._teams: dict[tuple[int, int], list[_Team]] = {}

    def tables(self, rows: int) -> Tables:
        """Those for ONE, FEW, SOME or MANY rows, made when they are first needed, because products may be timed."""
        found = self._tables.get(rows)
        if found is None:
            own = self.tables(SOME).own if rows <= FEW else ()
            form = partial(self._of_few_rows, own) if rows <= FEW else _as_it_is
            found = self.calls.tables(form, self._deterministic, max(rows, SOME))
            self._tables[rows] = found
        return found

    def _of_few_rows(self, own: Collection[int], position: int, call: Call) -> Call:
        """A product by a kernel that reads the weight once for each row; other calls, and those at `own`, as they are."""
        if call.kernel is not None or position in own:
            return call
        a, b, out, accumulate = call.arguments
        if a.transposed or b.transposed or accumulate or not all(array.flags.c_contiguous for array in call.arrays):
            return call
        kernel = self._kernels.kernel(self._kernels.row_matmul, out.dtype)
        self.by_columns.add(kernel.entry.address)
        arguments = a.array, b.array, out, 0, out.shape[1]
        return Call(kernel.name, arguments, [out], call.place, call.stage, kernel)

    def parts(self, rows: int) -> int:
        """Into how many parts rows are cut; independent of threads, because products of other shapes may round differently."""
        wanted = max(1, -(-rows // self.part_rows))
        if rows * self.calls.flop > SHORT:
            wanted = max(wanted, *(min(most, rows // least) for most, least in CUT))
        unit = min(UNIT, 1 << (wanted.bit_length() - 1))
        return -(-wanted // unit) * unit

    def run(self, inputs: Sequence[Array], out: Array | None) -> tuple[Array, float]:
        """See Evaluator.run; `out` without gaps."""
        rows = len(inputs[0])
        parts = self.parts(rows) if rows > FEW else 1
        if rows > COPIED or (parts > 1 and num_threads() > 1):
            return self._run_parts(inputs, out, rows, parts)
        most = ONE if rows == ONE else FEW if rows <= FEW else SOME
        owned = self._lanes[most]
        lane = _free(owned) or _FixedArrays(self, self.tables(most), COPIED if most == SOME else most)
        try:
            return lane.run(inputs, out, parts)
        finally:
            owned.append(lane)

    def _run_parts(self, inputs: Sequence[Array], out: Array | None, rows: int, parts: int) -> tuple[Array, float]:
        given = [np.ascontiguousarray(a) for a in inputs]
        if out is None:
            shape, dtype = self.calls.kinds[-1]
            out = np.empty((rows, *shape), dtype)
        threads = min(num_threads(), parts) if parts > 1 else 1
        typical = SOME if rows <= parts * COPIED else MANY
        teams = self._teams.setdefault((threads, typical), [])
        team = _free(teams) or _Team(self, self.tables(typical), threads)
        try:
            team.point(given, out, rows, parts)
            step = max(1, int(LAUNCH * parts / (rows * self.calls.flop + 1)) // UNIT) * UNIT
            with team.limited:
                for start in range(0, parts, step):
                    team.run(start, min(parts, start + step))
            return out, team.total()
        finally:
            teams.append(team)


def _as_it_is(_: int, call: Call) -> Call:
    return call


def _free(owned: list[Own]) -> Own | None:
    """One that no thread uses, taken from the list; threads may ask at the same time."""
    try:
        return owned.pop()
    except IndexError:
        return None


def _unlimited_rows(tables: Tables) -> int:
    """Rows up to which no product takes several threads of BLAS, so that nothing has to be limited."""
    if not tables.largest:
        return COPIED
    return 0 if "mkl" in libraries() else NumpyBackend.own_products // tables.largest


class _Lane:
    """The tables and buffers of one thread.

    Attributes: arguments, sources – see `walk_rows`; inputs, sum and result have no address yet.
    """

    def __init__(self, calls: RowCalls, tables: Tables, rows: int, arguments: Array, sources: Array) -> None:
        inputs = len(calls.kinds) - 1
        self.words, self.moves, self._calls = tables.words.copy(), tables.moves, tables.calls.copy()
        self._calls[:, 1] = self._calls[:, 1] * 8 + address_of(self.words)
        self.arguments, self.sources = arguments, sources
        self._buffers = []
        for number, extent in enumerate(calls.extents):
            if number < inputs or number == calls.result:
                sources[number + 1, 1] = extent.per_row
            elif number == inputs:
                sources[number + 1, 2] = np.dtype(np.float64).itemsize
            else:
                self._buffers.append(aligned_empty((extent.at(rows),), np.uint8))
                sources[number + 1, 0] = address_of(self._buffers[-1])
        arguments[:7] = (
            address_of(arguments), address_of(self._calls), len(self._calls), address_of(self.moves), len(self.moves),
            address_of(self.words), address_of(sources),
        )  # fmt: skip


class _Team:
    """As many lanes as threads may walk at the same time.

    Attributes: limited – a context that limits the BLAS to one thread, where there are products of one.
    """

    def __init__(self, plan: EvaluationPlan, tables: Tables, threads: int) -> None:
        self._arguments = np.zeros((threads, WORDS), np.int64)
        self._sources = np.zeros((threads, len(plan.calls.extents) + 1, 3), np.int64)
        self._lanes = [
            _Lane(plan.calls, tables, plan.part_rows, *own) for own in zip(self._arguments, self._sources, strict=True)
        ]
        self._next = np.zeros(1, np.int64)
        self._arguments[:, 9] = address_of(self._next)
        self._result = plan.calls.result + 1
        self._walk, self._place = row_walk(), int(address_of(self._arguments))
        self._replays: dict[int, Replay] = {}
        self._cut = 0, 0
        self.limited: AbstractContextManager[None] = single_threaded_blas if tables.largest else nullcontext()

    def point(self, inputs: Sequence[Array], out: Array, rows: int, parts: int) -> None:
        """Where the next runs read and write, and how the rows are cut."""
        for number, array in enumerate(inputs, 1):
            self._sources[:, number, 0] = address_of(array)
        self._sources[:, self._result, 0] = address_of(out)
        if self._cut != (rows, parts):
            self._cut, self._sums = (rows, parts), np.zeros(parts)
            self._sources[:, len(inputs) + 1, 0] = address_of(self._sums)
            self._arguments[:, 7:9] = rows, parts

    def total(self) -> float:
        """The sum of the last run."""
        return float(self._sums.sum())

    def run(self, start: int, stop: int) -> None:
        """Runs the parts from `start` to `stop`."""
        threads = len(self._lanes)
        self._next[0] = start
        self._arguments[:, 10] = stop
        if threads == 1:
            self._walk(self._place)
            return
        # One for each order of magnitude of the rows, because few rows may take fewer threads.
        size = self._cut[0].bit_length()
        replay = self._replays.get(size)
        if replay is None:
            replay = self._replays[size] = self._replay()
        replay.run((), threads)

    def _replay(self) -> Replay:
        replay = Replay([])
        for lane in self._lanes:
            replay.call(self._walk.address, [address_of(lane.arguments)], Label("rows", "model", "forward", 0, 0))
            replay.end_task()
        replay.end_phase()
        return replay.finish()


class _FixedArrays:
    """A lane for few rows, which are copied to and from its own arrays: this is faster than asking NumPy for addresses."""

    def __init__(self, plan: EvaluationPlan, tables: Tables, rows: int) -> None:
        calls = plan.calls
        sources = np.zeros((len(calls.extents) + 1, 3), np.int64)
        self._arguments = np.zeros(WORDS, np.int64)
        self._lane = _Lane(calls, tables, min(rows, plan.part_rows), self._arguments, sources)
        *self._inputs, self._out = [aligned_empty((rows, *shape), dtype) for shape, dtype in calls.kinds]
        self._sums = np.zeros(2 * rows)
        self._cut = 0, 0
        for number, array in enumerate((*self._inputs, self._sums), 1):
            sources[number, 0] = address_of(array)
        sources[calls.result + 1, 0] = address_of(self._out)
        self._next = np.zeros(1, np.int64)
        self._arguments[9] = address_of(self._next)
        self._unlimited = _unlimited_rows(tables)
        self._walk_alone = partial(ctypes.CFUNCTYPE(None, ctypes.c_int64)(row_walk().address), int(address_of(self._arguments)))
        self._flop, self._tables = calls.flop, tables
        self._by_columns = plan.by_columns
        self._short = SHORT_OF_FEW if rows <= FEW else SHORT
        self._divides = bool(tables.own) or not self._by_columns.isdisjoint(tables.calls[:, 0].tolist())
        self._replays = BoundedCache()

    def run(self, inputs: Sequence[Array], out: Array | None, parts: int) -> tuple[Array, float]:
        """See EvaluationPlan.run; on one thread where there are several parts."""
        rows = len(inputs[0])
        if self._cut != (rows, parts):
            self._cut = rows, parts
            self._arguments[[7, 8, 10]] = rows, parts, parts
            self._used = [array[:rows] for array in self._inputs], self._out[:rows], self._sums[:parts]
        given, result, sums = self._used
        for own, array in zip(given, inputs, strict=True):
            own[...] = array
        self._next[0] = 0
        walk = self._walk_together if self._divides and parts == 1 and rows * self._flop > self._short else self._walk_alone
        if rows <= self._unlimited:
            walk()
        else:
            with single_threaded_blas:
                walk()
        total = sums.item() if parts == 1 else float(sums.sum())
        if out is None:
            return result.copy(), total
        out[...] = result
        return out, total

    def _walk_together(self) -> None:
        """Large products are cut by the columns of the weight, which changes no bits."""
        threads = num_threads()
        if threads == 1:
            self._walk_alone()
        else:
            self._replays.made((self._cut[0], threads), partial(self._replay, threads)).run((), threads)

    def _replay(self, threads: int) -> Replay:
        tables, words, moves = self._tables, self._tables.words.copy(), self._tables.moves
        words[moves[:, 0]] = moves[:, 1] + moves[:, 2] * self._cut[0] + self._lane.sources[moves[:, 3], 0]
        replay, label = Replay([]), Label("rows", "model", "forward", 0, 0)
        for (entry, start), end in zip(tables.calls.tolist(), [*tables.calls[1:, 1].tolist(), len(words)], strict=True):
            given = words[start:end].tolist()
            columns, part = self._columns(entry, given)
            count = min(threads, columns // COLUMNS)
            if count < 2:
                replay.call(entry, given, label, self._lane)
                continue
            replay.end_task()
            replay.end_phase()
            inner = ((columns * k // count + TOGETHER // 2) // TOGETHER * TOGETHER for k in range(1, count))
            for low, high in pairwise((0, *inner, columns)):
                replay.call(entry, part(low, high), label, self._lane)
                replay.end_task()
            replay.end_phase()
        replay.end_task()
        replay.end_phase()
        return replay.finish()

    def _columns(self, entry: int, words: Sequence[int]) -> tuple[int, Callable[[int, int], list[int]]]:
        """How many columns of a weight may be cut, 0 for other calls; and the words for those from low to high."""
        if entry in self._by_columns:
            return words[-1], lambda low, high: [*words[:-2], low, high]
        size = element_size(words[0]) if entry == gemm_entry().address else 0
        return words[3] if size else 0, partial(gemm_columns, words, size)
