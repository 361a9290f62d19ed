"""Tiles of a matrix product in LLVM's assembly: some rows by some vectors of columns, in registers over all terms of the sums.

Each element of a tile is one sum, whose terms are added in order with fused multiply-add: its bits do not depend on the tile.
Between the terms, memory that is needed later is fetched: the results themselves, and what the caller names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from .kinds import Scalar


class Registers(NamedTuple):
    """The vector registers of a processor.

    Attributes: bytes – of each; rows – the most rows of a tile of two vectors that fit in all of them; an even number.
    """

    bytes: int
    rows: int


SOME = 16
"""Terms between two fetches."""
GROUP = 3
"""Rows that are addressed from one pointer, at 0, 1 and 2 times the distance between rows."""


def registers(triple: str, features: Mapping[str, bool]) -> Registers | None:
    """Those of a processor, by what LLVM says about it; None where tiles are not made for it."""
    if features.get("avx512f"):
        return Registers(64, 14)
    if features.get("avx2") and features.get("fma"):
        return Registers(32, 6)
    return Registers(16, 12) if triple.startswith(("aarch64", "arm64")) else None


class Tile(NamedTuple):
    """out [rows, columns] = x [rows, terms] w [terms, columns], all row-major.

    Attributes: name – of the function; rows; vectors – of columns; one vector has as many columns as the caller says, two are
        whole; keeps – whether every row of w is also written to `copy`, one after the other.
    """

    name: str
    rows: int
    vectors: int
    keeps: bool = False

    def assembly(self, real: Scalar, width: int) -> str:
        """The function of whole numbers; see ARGUMENTS.

        Args: real – the type of an element; width – bytes of a vector.
        """
        return "\n".join(_Text(self, real, width).function())


ARGUMENTS = (
    "x_at", "x_row", "x_term", "w_at", "w_row", "copy_at", "out_at", "out_row", "terms", "fresh", "columns", "ahead_at",
    "ahead_step", "ahead_beside",
)  # fmt: skip
"""Addresses, distances between rows and terms in bytes, and numbers; what is in out is added to unless `fresh` is 1.

Tiles of two vectors that keep nothing fetch the memory at ahead_at, and that which is ahead_beside bytes away, and go on by
ahead_step with every SOME terms.
"""


def preamble(real: Scalar, width: int) -> str:
    """What a module with tiles begins with."""
    text = _Text(Tile("", 1, 1), real, width)
    vector, name, mask = text.vector, text.suffix, f"<{text.lanes} x i1>"
    return "\n".join([
        "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)",
        f"declare {vector} @llvm.fma.{name}({vector}, {vector}, {vector})",
        f"declare {vector} @llvm.masked.load.{name}.p0(ptr, i32, {mask}, {vector})",
        f"declare void @llvm.masked.store.{name}.p0({vector}, ptr, i32, {mask})",
        "!0 = distinct !{!0, !1}",
        '!1 = !{!"llvm.loop.unroll.disable"}',  # of a loop that is unrolled the sums do not stay in registers
    ])  # fmt: skip


class _Text:
    """The lines of one function."""

    def __init__(self, tile: Tile, real: Scalar, width: int) -> None:
        self.tile, self.real, self.width = tile, real, width
        self.lanes = width // real.size
        self.vector = f"<{self.lanes} x {real.llvm}>"
        self.suffix = f"v{self.lanes}f{real.bits}"
        self.bases = range(0, tile.rows, GROUP)
        self.pointers = [*(f"x{r}" for r in self.bases), "w", *(["copy"] if tile.keeps else [])]
        self.fetches = tile.vectors == 2 and not tile.keeps
        self.elements = [(r, v) for r in range(tile.rows) for v in range(tile.vectors)]

    def function(self) -> Iterator[str]:
        bits = 8 * self.width
        yield (
            f"define internal void @{self.tile.name}({', '.join(f'i64 %{name}' for name in ARGUMENTS)}) nounwind "
            f'"min-legal-vector-width"="{bits}" "prefer-vector-width"="{bits}" {{'
        )
        before = [self._load(f"%old{r}.{v}", f"%place{r}.{v}") for r, v in self.elements]
        after = [self._store(f"%next{r}.{v}", f"%place{r}.{v}") for r, v in self.elements]
        added = [f"%new{r}.{v} = fadd {self.vector} %old{r}.{v}, %next{r}.{v}" for r, v in self.elements]
        sums = [self._store(f"%new{r}.{v}", f"%place{r}.{v}") for r, v in self.elements]
        yield from _block("entry", self._entry(), "br label %some")
        yield from _block("some", self._some(), "br label %term")
        yield from _block("term", self._term(), "br i1 %more, label %term, label %done, !llvm.loop !0")
        over = "%over = icmp uge i64 %i.next, %terms"
        yield from _block("done", [over], "br i1 %over, label %end, label %some, !llvm.loop !0")
        yield from _block("end", (), "br i1 %begins, label %first, label %further")
        yield from _block("first", after, "ret void")
        yield from _block("further", [*before, *added, *sums], "ret void")
        yield "}\n"

    def _entry(self) -> Iterator[str]:
        """Pointers to the first elements, and the mask."""
        for name in ("x", "w", "copy", "out", "ahead"):
            yield f"%{name} = inttoptr i64 %{name}_at to ptr"
        yield "%x_row2 = shl i64 %x_row, 1"
        for r in self.bases:
            yield from self._moved(f"%x{r}", "%x", "%x_row", r)
        for r in range(self.tile.rows):
            yield from self._moved(f"%place{r}.0", "%out", "%out_row", r)
            for v in range(1, self.tile.vectors):
                yield f"%place{r}.{v} = getelementptr i8, ptr %place{r}.0, i64 {v * self.width}"
        if self.tile.vectors == 1:
            kind, numbers = f"<{self.lanes} x i32>", ", ".join(f"i32 {lane}" for lane in range(self.lanes))
            yield "%count = trunc i64 %columns to i32"
            yield from self._spread("%counts", kind, "i32 %count")
            yield f"%mask = icmp ult {kind} <{numbers}>, %counts"
        yield "%begins = icmp eq i64 %fresh, 1"

    def _some(self) -> Iterator[str]:
        """What comes before each SOME terms: memory that is needed later is fetched."""
        yield "%i.some = phi i64 [ 0, %entry ], [ %i.next, %done ]"
        for name in self.pointers:
            yield f"%{name}.some = phi ptr [ %{name}, %entry ], [ %{name}.next, %done ]"
        for r, v in self.elements:
            yield f"%some{r}.{v} = phi {self.vector} [ zeroinitializer, %entry ], [ %next{r}.{v}, %done ]"
        yield "%later = phi ptr [ %out, %entry ], [ %later.next, %done ]"
        if self.fetches:
            yield "%ahead.some = phi ptr [ %ahead, %entry ], [ %ahead.next, %done ]"
        yield "%later.next = getelementptr i8, ptr %later, i64 %out_row"
        for v in range(self.tile.vectors):
            yield f"%later{v} = getelementptr i8, ptr %later, i64 {v * self.width}"
            yield f"call void @llvm.prefetch.p0(ptr %later{v}, i32 1, i32 3, i32 1)"
        if self.fetches:
            yield "%ahead.next = getelementptr i8, ptr %ahead.some, i64 %ahead_step"
            yield "%beside = getelementptr i8, ptr %ahead.some, i64 %ahead_beside"
            for place in ("%ahead.some", "%beside"):
                yield f"call void @llvm.prefetch.p0(ptr {place}, i32 0, i32 3, i32 1)"
        yield f"%all = add i64 %i.some, {SOME}"
        yield "%fewer = icmp ult i64 %terms, %all"
        yield "%stop = select i1 %fewer, i64 %terms, i64 %all"

    def _term(self) -> Iterator[str]:
        """One term of every sum."""
        yield "%i = phi i64 [ %i.some, %some ], [ %i.next, %term ]"
        for name in self.pointers:
            yield f"%{name}.now = phi ptr [ %{name}.some, %some ], [ %{name}.next, %term ]"
        for r, v in self.elements:
            yield f"%sum{r}.{v} = phi {self.vector} [ %some{r}.{v}, %some ], [ %next{r}.{v}, %term ]"
        for v in range(self.tile.vectors):
            yield f"%w.now{v} = getelementptr i8, ptr %w.now, i64 {v * self.width}"
            yield self._load(f"%w{v}", f"%w.now{v}")
            if self.tile.keeps:
                yield f"%copy.now{v} = getelementptr i8, ptr %copy.now, i64 {v * self.width}"
                yield self._store(f"%w{v}", f"%copy.now{v}")
        for r in range(self.tile.rows):
            distance = ("0", "%x_row", "%x_row2")[r % GROUP]
            yield f"%at{r} = getelementptr i8, ptr %x{r - r % GROUP}.now, i64 {distance}"
            yield f"%one{r} = load {self.real.llvm}, ptr %at{r}, align {self.real.size}"
            yield from self._spread(f"%all{r}", self.vector, f"{self.real.llvm} %one{r}")
            for v in range(self.tile.vectors):
                given = ", ".join(f"{self.vector} {value}" for value in (f"%all{r}", f"%w{v}", f"%sum{r}.{v}"))
                yield f"%next{r}.{v} = call {self.vector} @llvm.fma.{self.suffix}({given})"
        steps = {"w": "%w_row", "copy": str(self.tile.vectors * self.width)}
        for name in self.pointers:
            yield f"%{name}.next = getelementptr i8, ptr %{name}.now, i64 {steps.get(name, '%x_term')}"
        yield "%i.next = add i64 %i, 1"
        yield "%more = icmp ult i64 %i.next, %stop"

    def _moved(self, result: str, pointer: str, distance: str, times: int) -> Iterator[str]:
        yield f"{result}.offset = mul i64 {distance}, {times}"
        yield f"{result} = getelementptr i8, ptr {pointer}, i64 {result}.offset"

    def _spread(self, result: str, kind: str, value: str) -> Iterator[str]:
        """A vector with one number in all places."""
        yield f"{result}.one = insertelement {kind} poison, {value}, i64 0"
        yield f"{result} = shufflevector {kind} {result}.one, {kind} poison, <{self.lanes} x i32> zeroinitializer"

    def _load(self, result: str, place: str) -> str:
        if self.tile.vectors > 1:
            return f"{result} = load {self.vector}, ptr {place}, align {self.real.size}"
        given = f"ptr {place}, i32 {self.real.size}, <{self.lanes} x i1> %mask, {self.vector} zeroinitializer"
        return f"{result} = call {self.vector} @llvm.masked.load.{self.suffix}.p0({given})"

    def _store(self, value: str, place: str) -> str:
        if self.tile.vectors > 1:
            return f"store {self.vector} {value}, ptr {place}, align {self.real.size}"
        given = f"{self.vector} {value}, ptr {place}, i32 {self.real.size}, <{self.lanes} x i1> %mask"
        return f"call void @llvm.masked.store.{self.suffix}.p0({given})"


def _block(label: str, lines: Iterable[str], end: str) -> Iterator[str]:
    yield f"{label}:"
    yield from (f"  {line}" for line in lines)
    yield f"  {end}"
