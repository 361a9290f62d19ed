"""Copies of parts of a matrix in LLVM's assembly, in the order in which the tiles of a product read them; see tiles.py."""

from __future__ import annotations

from collections.abc import Iterator

from .kinds import Scalar

ARGUMENTS = ("from_at", "distance", "to_at", "line", "terms", "count")
"""Addresses of the first element and of the result, with the bytes from line to line of each; and numbers of elements."""
AHEAD = 4
"""How many lines before its copy a line is fetched."""


def straight(name: str, real: Scalar, width: int) -> str:
    """The function that copies the first `count` elements of each of `terms` lines, at most a vector."""
    return "\n".join(_Packing(name, real, width).straight())


def turned(name: str, real: Scalar, width: int) -> str:
    """The function that copies `count` lines, at most as many as a vector has elements, of `terms` elements each, transposed.

    Vectors up to the next multiple of their length are written, the last of them without meaning.
    """
    return "\n".join(_Packing(name, real, width).turned())


def lines(name: str, real: Scalar, width: int) -> str:
    """The function that copies `count` lines of `terms` elements as they are, the last vector of each as a whole."""
    return "\n".join(_Packing(name, real, width).lines())


class _Packing:
    """The lines of one function."""

    def __init__(self, name: str, real: Scalar, width: int) -> None:
        self.name, self.real, self.width = name, real, width
        self.lanes = width // real.size
        self.vector = f"<{self.lanes} x {real.llvm}>"
        self.load = f"call {self.vector} @llvm.masked.load.v{self.lanes}f{real.bits}.p0"

    def _begin(self) -> Iterator[str]:
        bits = 8 * self.width
        yield (
            f"define internal void @{self.name}({', '.join(f'i64 %{name}' for name in ARGUMENTS)}) nounwind "
            f'"min-legal-vector-width"="{bits}" "prefer-vector-width"="{bits}" {{'
        )
        yield "entry:"
        yield "  %from = inttoptr i64 %from_at to ptr"
        yield "  %to = inttoptr i64 %to_at to ptr"

    def _mask(self, name: str, count: str) -> Iterator[str]:
        """A mask of the first `count` elements."""
        kind, numbers = f"<{self.lanes} x i32>", ", ".join(f"i32 {lane}" for lane in range(self.lanes))
        yield f"  {name}.count = trunc i64 {count} to i32"
        yield f"  {name}.one = insertelement {kind} poison, i32 {name}.count, i64 0"
        yield f"  {name}.all = shufflevector {kind} {name}.one, {kind} poison, <{self.lanes} x i32> zeroinitializer"
        yield f"  {name} = icmp ult {kind} <{numbers}>, {name}.all"

    def straight(self) -> Iterator[str]:
        """See `straight` above."""
        yield from self._begin()
        yield from self._mask("%mask", "%count")
        yield f"  %whole = icmp eq i64 %count, {self.lanes}"
        yield "  br i1 %whole, label %wholes, label %parts"
        loads = {
            "wholes": f"load {self.vector}, ptr %wholes.from, align {self.real.size}",
            "parts": f"{self.load}(ptr %parts.from, i32 {self.real.size}, <{self.lanes} x i1> %mask, "
            f"{self.vector} zeroinitializer)",
        }
        for label, load in loads.items():
            yield f"{label}:"
            for pointer, start in (("from", "%from"), ("to", "%to")):
                yield f"  %{label}.{pointer} = phi ptr [ {start}, %entry ], [ %{label}.{pointer}.next, %{label} ]"
            yield f"  %{label}.i = phi i64 [ 0, %entry ], [ %{label}.next, %{label} ]"
            yield f"  %{label}.value = {load}"
            yield f"  store {self.vector} %{label}.value, ptr %{label}.to, align {self.real.size}"
            yield f"  %{label}.from.next = getelementptr i8, ptr %{label}.from, i64 %distance"
            yield f"  %{label}.to.next = getelementptr i8, ptr %{label}.to, i64 %line"
            yield f"  %{label}.next = add i64 %{label}.i, 1"
            yield f"  %{label}.more = icmp ult i64 %{label}.next, %terms"
            yield f"  br i1 %{label}.more, label %{label}, label %end"
        yield "end:\n  ret void\n}\n"

    def turned(self) -> Iterator[str]:
        """See `turned` above."""
        lanes = self.lanes
        yield from self._begin()
        yield "  %last = sub i64 %count, 1"
        for lane in range(lanes):  # beyond the last line that one is read again
            yield f"  %less{lane} = icmp ult i64 {lane}, %last"
            yield f"  %number{lane} = select i1 %less{lane}, i64 {lane}, i64 %last"
            yield f"  %offset{lane} = mul i64 %number{lane}, %distance"
        yield f"  %wholes = and i64 %terms, {-lanes}"
        yield "  %some = icmp ne i64 %wholes, 0"
        yield "  br i1 %some, label %whole, label %rest"
        yield "whole:"
        yield "  %i = phi i64 [ 0, %entry ], [ %i.next, %whole ]"
        yield from self._block("whole", "%i", None)
        yield f"  %i.next = add i64 %i, {lanes}"
        yield "  %more = icmp ult i64 %i.next, %wholes"
        yield "  br i1 %more, label %whole, label %rest"
        yield "rest:"
        yield "  %left = sub i64 %terms, %wholes"
        yield "  %any = icmp ne i64 %left, 0"
        yield "  br i1 %any, label %part, label %end"
        yield "part:"
        yield from self._mask("%mask", "%left")
        yield from self._block("part", "%wholes", "%mask")
        yield "  br label %end\nend:\n  ret void\n}\n"

    def _block(self, label: str, first: str, mask: str | None) -> Iterator[str]:
        """As many lines as a vector has elements, each for as many terms, transposed."""
        lanes, size = self.lanes, self.real.size
        yield f"  %{label}.bytes = mul i64 {first}, {size}"
        yield f"  %{label}.from = getelementptr i8, ptr %from, i64 %{label}.bytes"
        values = []
        for lane in range(lanes):
            yield f"  %{label}.at{lane} = getelementptr i8, ptr %{label}.from, i64 %offset{lane}"
            place = f"ptr %{label}.at{lane}"
            if mask is None:
                yield f"  %{label}.v{lane} = load {self.vector}, {place}, align {size}"
            else:
                zeros = f"<{lanes} x i1> {mask}, {self.vector} zeroinitializer"
                yield f"  %{label}.v{lane} = {self.load}({place}, i32 {size}, {zeros})"
            values.append(f"%{label}.v{lane}")
        step = 1
        while step < lanes:
            exchanged = list(values)
            for one in range(lanes):
                if one & step:
                    continue
                other = one + step
                pair = f"{self.vector} {values[one]}, {self.vector} {values[other]}"
                low = [k if not k & step else lanes + k - step for k in range(lanes)]
                high = [k + step if not k & step else lanes + k for k in range(lanes)]
                for number, picked in ((one, low), (other, high)):
                    exchanged[number] = f"%{label}.s{step}.{number}"
                    numbers = ", ".join(f"i32 {k}" for k in picked)
                    yield f"  {exchanged[number]} = shufflevector {pair}, <{lanes} x i32> <{numbers}>"
            values, step = exchanged, 2 * step
        yield f"  %{label}.skip = mul i64 {first}, %line"
        yield f"  %{label}.to = getelementptr i8, ptr %to, i64 %{label}.skip"
        for lane, value in enumerate(values):
            yield f"  %{label}.line{lane} = mul i64 %line, {lane}"
            yield f"  %{label}.to{lane} = getelementptr i8, ptr %{label}.to, i64 %{label}.line{lane}"
            yield f"  store {self.vector} {value}, ptr %{label}.to{lane}, align {size}"

    def lines(self) -> Iterator[str]:
        """See `lines` above."""
        yield from self._begin()
        yield f"  %size = mul i64 %terms, {self.real.size}"
        yield f"  %wholes = and i64 %size, {-self.width}"
        yield "  %rest = sub i64 %size, %wholes"
        yield f"  %left = udiv i64 %rest, {self.real.size}"
        yield from self._mask("%mask", "%left")
        yield f"  %far = mul i64 %distance, {AHEAD}"
        yield "  br label %row"
        yield "row:"
        for pointer in ("from", "to"):
            yield f"  %{pointer}.now = phi ptr [ %{pointer}, %entry ], [ %{pointer}.next, %part ]"
        yield "  %i = phi i64 [ 0, %entry ], [ %next, %part ]"
        yield "  %some = icmp ne i64 %wholes, 0"
        yield "  br i1 %some, label %whole, label %part"
        yield "whole:"
        yield "  %at = phi i64 [ 0, %row ], [ %at.next, %whole ]"
        yield "  %whole.from = getelementptr i8, ptr %from.now, i64 %at"
        yield "  %whole.to = getelementptr i8, ptr %to.now, i64 %at"
        yield "  %whole.far = getelementptr i8, ptr %whole.from, i64 %far"
        yield "  call void @llvm.prefetch.p0(ptr %whole.far, i32 0, i32 3, i32 1)"
        yield f"  %whole.value = load {self.vector}, ptr %whole.from, align {self.real.size}"
        yield f"  store {self.vector} %whole.value, ptr %whole.to, align {self.real.size}"
        yield f"  %at.next = add i64 %at, {self.width}"
        yield "  %again = icmp ult i64 %at.next, %wholes"
        yield "  br i1 %again, label %whole, label %part"
        yield "part:"
        yield "  %part.from = getelementptr i8, ptr %from.now, i64 %wholes"
        yield "  %part.to = getelementptr i8, ptr %to.now, i64 %wholes"
        masked = f"<{self.lanes} x i1> %mask, {self.vector} zeroinitializer"
        yield f"  %part.value = {self.load}(ptr %part.from, i32 {self.real.size}, {masked})"
        yield f"  store {self.vector} %part.value, ptr %part.to, align {self.real.size}"
        yield "  %from.next = getelementptr i8, ptr %from.now, i64 %distance"
        yield "  %to.next = getelementptr i8, ptr %to.now, i64 %line"
        yield "  %next = add i64 %i, 1"
        yield "  %more = icmp ult i64 %next, %count"
        yield "  br i1 %more, label %row, label %end"
        yield "end:\n  ret void\n}\n"
