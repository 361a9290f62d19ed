"""Tracing: calling a formula on symbols gives a straight-line program, from which every target generates code.

This file contains only the program and its bookkeeping; the targets define the code of each operation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

REAL, BOOL, UINT32, UINT64 = "real", "bool", "uint32", "uint64"

_COMPARISONS = frozenset({"less", "less_equal", "greater", "greater_equal"})
_CASTS = {"uint32": UINT32, "uint64": UINT64, "real": REAL}


@dataclass(frozen=True)
class Node:
    """One step of a program: an input, a constant, or an operation on earlier nodes.

    Attributes: operation; arguments – indices of earlier nodes; kind – REAL, BOOL, UINT32 or UINT64; uniform – whether the
        value is the same for all elements, so that it is computed once per call; value – the name of an input, or the number
        of a constant.
    """

    operation: str
    arguments: tuple[int, ...]
    kind: str
    uniform: bool
    value: float | int | str | None = None


class Program:
    """A traced formula: nodes in order of computation, each only once.

    Args: expansions – operation -> function that computes it from other operations, for operations that the target lacks or has
        only in a slow form.
    """

    def __init__(self, expansions: Mapping[str, Callable[..., Any]] | None = None) -> None:
        self.nodes: list[Node] = []
        self.outputs: list[int] = []
        self._known: dict[Node, int] = {}
        self._expansions = dict(expansions or {})

    def _append(self, node: Node) -> Symbol:
        index = self._known.get(node)
        if index is None:
            index = len(self.nodes)
            self.nodes.append(node)
            self._known[node] = index
        return Symbol(self, index)

    def input(self, name: str, kind: str = REAL, uniform: bool = False) -> Symbol:
        """A value that the kernel's loop provides."""
        return self._append(Node("input", (), kind, uniform, name))

    def constant(self, value: float | int, kind: str) -> Symbol:
        """A number written in the formula, converted to the kind of the values that it is combined with."""
        if isinstance(value, bool) or not isinstance(value, float | int):
            raise TypeError(f"a formula takes real numbers as constants; got {value!r}: write it as a float")
        return self._append(Node("constant", (), kind, True, float(value) if kind == REAL else int(value)))

    def symbol(self, value: Any, kind: str) -> Symbol:
        """`value` as a symbol of this program."""
        if isinstance(value, Symbol):
            if value.program is not self:
                raise TypeError("a formula mixed the symbols of two programs; call it once per trace")
            return value
        return self.constant(value, kind)

    def emit(self, operation: str, *arguments: Any) -> Symbol:
        """Appends `operation`, or its expansion if the target has one."""
        if operation in self._expansions:
            return self.symbol(self._expansions[operation](*arguments), REAL)
        kinds = [a.kind for a in (arguments[1:] if operation == "select" else arguments) if isinstance(a, Symbol)]
        meeting = UINT64 if UINT64 in kinds else kinds[0] if kinds else REAL
        condition = () if operation != "select" else (self.symbol(arguments[0], BOOL),)
        rest = arguments[len(condition) :]
        symbols = (*condition, *(self.symbol(a, meeting) for a in rest))
        kind = _CASTS.get(operation) or (BOOL if operation in _COMPARISONS else meeting)
        uniform = all(self.nodes[s.index].uniform for s in symbols)
        return self._append(Node(operation, tuple(s.index for s in symbols), kind, uniform))

    def finish(self, results: Any) -> Program:
        """A program whose outputs are what the formula returned, without the nodes that no output depends on."""
        values = results if isinstance(results, tuple) else (results,)
        outputs = [self.symbol(v, REAL).index for v in values]
        needed = set(outputs)
        for index in range(len(self.nodes) - 1, -1, -1):
            if index in needed:
                needed.update(self.nodes[index].arguments)
        saved = Program()
        place: dict[int, int] = {}
        for index, node in enumerate(self.nodes):
            if index in needed or node.operation == "input":
                place[index] = len(saved.nodes)
                arguments = tuple(place[a] for a in node.arguments)
                saved.nodes.append(Node(node.operation, arguments, node.kind, node.uniform, node.value))
        saved.outputs = [place[o] for o in outputs]
        return saved


def _operator(operation: str, swapped: bool = False) -> Callable[[Symbol, Any], Symbol]:
    """An operator of symbols; `swapped` – the symbol is its right operand."""

    def record(self: Symbol, other: Any) -> Symbol:
        return self.program.emit(operation, *((other, self) if swapped else (self, other)))

    return record


class Symbol:
    """One value of a program while it is traced; arithmetic on it is recorded."""

    __slots__ = ("index", "program")

    def __init__(self, program: Program, index: int) -> None:
        self.program = program
        self.index = index

    @property
    def kind(self) -> str:
        """The kind of the value: REAL, BOOL, UINT32 or UINT64."""
        return self.program.nodes[self.index].kind

    def __bool__(self) -> bool:
        raise TypeError("a formula cannot branch on a value with `if`, `and` or `or`; write select(condition, a, b)")

    __add__, __radd__ = _operator("add"), _operator("add", swapped=True)
    __sub__, __rsub__ = _operator("subtract"), _operator("subtract", swapped=True)
    __mul__, __rmul__ = _operator("multiply"), _operator("multiply", swapped=True)
    __truediv__, __rtruediv__ = _operator("divide"), _operator("divide", swapped=True)
    __lt__, __le__ = _operator("less"), _operator("less_equal")
    __gt__, __ge__ = _operator("greater"), _operator("greater_equal")
    __xor__, __and__ = _operator("bitwise_xor"), _operator("bitwise_and")
    __rshift__ = _operator("right_shift")

    def __neg__(self) -> Symbol:
        return self.program.emit("negative", self)


def program_of(*values: Any) -> Program | None:
    """The program that is being traced, if any of the values is a symbol."""
    for value in values:
        if isinstance(value, Symbol):
            return value.program
    return None
