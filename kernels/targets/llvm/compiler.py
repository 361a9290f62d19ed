"""Functions in a small subset of Python → LLVM's assembly.

The subset is what loops over arrays need. A function takes numbers and row-major arrays; it has assignments, `for … in range`,
`while`, `if`, calls of other functions of its module, arithmetic, comparisons, `x[i, j]`, `x[a:b]` and `x[:] = value` of
vectors, `x.shape`, `np.zeros` and `np.empty` (freed when the function ends), casts (`f32(x)`), `.view`, the functions of
FUNCTIONS, and those of memory.py on addresses. Types follow from the arguments; a variable keeps the type of its first value.

As in Numba, integers narrower than 64 bits become 64 bits wide in arithmetic. Stricter than there: numbers of different
floating-point types do not mix without a cast, and indices are not negative. `and`, `or` and `a if c else b` evaluate only what
they need.
"""

from __future__ import annotations

import ast
import builtins
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from . import memory
from .kinds import BOOL, F32, F64, I64, U64, ArrayOf, Kind, Scalar, dtype_of, scalar_of


class KernelError(TypeError):
    """The source of a kernel uses what the language does not have."""


class Number(NamedTuple):
    """A scalar value: its kind, and a register or constant of LLVM. A `literal` integer takes the type of what it meets."""

    kind: Scalar
    text: str
    literal: int | None = None


class Vector(NamedTuple):
    """An array: its kind, the pointer to its first element, and its extents, all of them registers."""

    kind: ArrayOf
    pointer: str
    extents: tuple[Number, ...]


Value = Number | Vector

FUNCTIONS: dict[Any, tuple[str, str | None]] = {
    math.sqrt: ("llvm.sqrt", None), math.sin: ("llvm.sin", None), math.cos: ("llvm.cos", None), math.exp: ("llvm.exp", None),
    math.log: ("llvm.log", None), math.fabs: ("llvm.fabs", None), np.floor: ("llvm.floor", None),
    math.expm1: ("", "expm1"), math.log1p: ("", "log1p"), math.tanh: ("", "tanh"), math.erf: ("", "erf"),
}  # fmt: skip
"""Functions of one floating-point number: LLVM's intrinsic, or the function of the C library."""

_ARITHMETIC = {
    ast.Add: ("fadd", "add"), ast.Sub: ("fsub", "sub"), ast.Mult: ("fmul", "mul"), ast.Div: ("fdiv", ""),
    ast.BitAnd: ("", "and"), ast.BitOr: ("", "or"), ast.BitXor: ("", "xor"), ast.LShift: ("", "shl"), ast.RShift: ("", "shr"),
    ast.FloorDiv: ("", "div"), ast.Mod: ("", "rem"),
}  # fmt: skip
_COMPARISONS = {
    ast.Lt: ("olt", "lt"), ast.LtE: ("ole", "le"), ast.Gt: ("ogt", "gt"), ast.GtE: ("oge", "ge"), ast.Eq: ("oeq", "eq"),
    ast.NotEq: ("une", "ne"),
}  # fmt: skip


def constant(value: Any) -> Number:
    """A number that is known when a kernel is compiled."""
    if isinstance(value, bool | np.bool_):
        return Number(BOOL, "true" if value else "false")
    if isinstance(value, int):
        return Number(I64, str(value), value)
    kind = F64 if isinstance(value, float) and not isinstance(value, np.generic) else scalar_of(value.dtype)
    if kind.family != "f":
        return Number(kind, str(int(value)))
    return Number(kind, "0x" + struct.pack(">d", float(value)).hex().upper())


@dataclass
class Module:
    """Functions of one source text, and what has been compiled of them.

    Args: text – the source; names – what it refers to, for a text whose own definitions are not to be run; reassociated – names
        of functions whose sums may be taken in another order.
    """

    text: str
    names: Mapping[str, Any] = field(default_factory=dict)
    reassociated: Sequence[str] = ()

    def __post_init__(self) -> None:
        tree = ast.parse(self.text)
        self.functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        definitions = ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef)], [])
        self.namespace: dict[str, Any] = dict(self.names)
        if not self.names:
            exec(compile(definitions, "<constants of a kernel>", "exec"), self.namespace)
        self.made: dict[tuple[str, tuple[Kind, ...]], tuple[str, Scalar | None]] = {}
        self.parts: list[str] = []
        self.declared: dict[str, str] = {}

    def called(self, name: str, kinds: tuple[Kind, ...]) -> tuple[str, Scalar | None]:
        """LLVM's name of one of the functions for arguments of these kinds, and the kind of its result."""
        made = self.made.get((name, kinds))
        if made is None:
            own = f"{name}.{len(self.made)}"
            body = Body(self, self.functions[name], kinds)
            taken = ", ".join(f"{kind} %{register}" for kind, register in body.taken)
            result = body.result.llvm if body.result else "void"
            self.parts.append(f"define internal {result} @{own}({taken}) alwaysinline nounwind {{\n{body.text}}}\n")
            made = self.made[name, kinds] = own, body.result
        return made

    def entry(self, symbol: str, name: str, kinds: Sequence[Kind]) -> None:
        """Adds `symbol`(address of words): the function with its arguments read from memory; see words.py."""
        lines, given, position = [], [], 0

        def word(as_type: str) -> str:
            nonlocal position
            lines.append(f"  %p{position} = getelementptr inbounds i64, ptr %words, i64 {position}")
            lines.append(f"  %w{position} = load {as_type}, ptr %p{position}, align 8")
            position += 1
            return f"{as_type} %w{position - 1}"

        for kind in kinds:
            types = [kind.llvm] if isinstance(kind, Scalar) else ["ptr", *["i64"] * kind.dimensions]
            given += [word(as_type) for as_type in types]
        own, _ = self.called(name, tuple(kinds))
        lines += [f"  call void @{own}({', '.join(given)})", "  ret void"]
        self.parts.append(f"define void @{symbol}(ptr %words) nounwind {{\n" + "\n".join(lines) + "\n}\n")

    def export(self, symbol: str, name: str) -> None:
        """Adds `symbol`: one of the functions, which takes whole numbers and returns one or nothing."""
        kinds = (I64,) * len(self.functions[name].args.args)
        own, result = self.called(name, kinds)
        taken = ", ".join(f"i64 %a{k}" for k in range(len(kinds)))
        call = f"call {'i64' if result else 'void'} @{own}({taken})"
        body = f"  %r = {call}\n  ret i64 %r\n" if result else f"  {call}\n  ret void\n"
        self.parts.append(f"define {'i64' if result else 'void'} @{symbol}({taken}) nounwind {{\n{body}}}\n")

    @property
    def assembly(self) -> str:
        """All that was asked for."""
        return "\n".join([*self.declared.values(), *self.parts])


class Body:
    """The code of one function for arguments of given kinds.

    Attributes: taken – LLVM's parameters, (type, register); result – kind of what is returned; text – the instructions.
    """

    def __init__(self, module: Module, node: ast.FunctionDef, kinds: Sequence[Kind]) -> None:
        self.module = module
        self.flags = "reassoc nsz " if node.name in module.reassociated else ""
        self.taken: list[tuple[str, str]] = []
        self.result: Scalar | None = None
        self._node: ast.AST = node
        self._lines: list[str] = []
        self._slots: list[str] = []
        self._owned: list[str] = []
        self._variables: dict[str, tuple[Scalar, str]] = {}
        self._arrays: dict[str, Vector] = {}
        self._count = 0
        self._loops: list[str] = []
        for argument, kind in zip(node.args.args, kinds, strict=True):
            self._take(argument.arg, kind)
        self._statements(node.body)
        if not self._ended:
            self._return(None)
        self.text = "\n".join(["entry:", *self._slots, *self._lines]) + "\n"

    def _take(self, name: str, kind: Kind) -> None:
        if isinstance(kind, Scalar):
            self.taken.append((kind.llvm, f"{name}.in"))
            self._store(name, Number(kind, f"%{name}.in"))
            return
        registers = [f"{name}.{k}" for k in range(kind.dimensions)]
        self.taken += [("ptr", f"{name}.at"), *(("i64", register) for register in registers)]
        self._arrays[name] = Vector(kind, f"%{name}.at", tuple(Number(I64, f"%{register}") for register in registers))

    # Instructions

    def _error(self, message: str) -> KernelError:
        return KernelError(f"{message}, in {ast.unparse(self._node)!r}")

    def _emit(self, text: str) -> None:
        self._lines.append(f"  {text}")

    def _new(self, kind: Scalar, text: str) -> Number:
        self._count += 1
        self._emit(f"%v{self._count} = {text}")
        return Number(kind, f"%v{self._count}")

    def _label(self, name: str) -> str:
        self._count += 1
        return f"{name}{self._count}"

    def _begin(self, label: str) -> None:
        if not self._ended:
            self._emit(f"br label %{label}")
        self._lines.append(f"{label}:")

    @property
    def _ended(self) -> bool:
        """Whether the block at hand has its last instruction."""
        return bool(self._lines) and self._lines[-1].startswith(("  br ", "  ret "))

    def _branch(self, condition: Number, yes: str, no: str) -> None:
        self._emit(f"br i1 {condition.text}, label %{yes}, label %{no}")

    def _store(self, name: str, value: Number) -> None:
        """Sets a variable; passes of LLVM turn the memory that stands for it into registers."""
        known = self._variables.get(name)
        if known is None:
            slot = f"%{name}.slot"
            self._slots.append(f"  {slot} = alloca {value.kind.llvm}")
            known = self._variables[name] = value.kind, slot
        kind, slot = known
        self._emit(f"store {kind.llvm} {self._fit(value, kind).text}, ptr {slot}")

    # Types

    def _fit(self, value: Number, kind: Scalar) -> Number:
        """A value as it is stored in a place of that kind: integers change their width, nothing else changes."""
        if value.kind == kind:
            return value
        if value.literal is not None and kind.family == "f":
            return constant(_REAL[kind](value.literal))
        if value.kind.family == "f" or kind.family == "f":
            raise self._error(f"expected a number of type {kind.name}; got {value.kind.name}")
        return self._cast(value, kind)

    def _cast(self, value: Number, kind: Scalar) -> Number:
        """value as a number of another kind, as C converts it."""
        old = value.kind
        if old == kind or (old.family in "iu" and kind.family in "iu" and old.bits == kind.bits):
            return Number(kind, value.text)
        if value.literal is not None:
            return constant(_REAL[kind](value.literal)) if kind.family == "f" else Number(kind, value.text)
        if kind.family == "b":
            raise self._error("expected a comparison for a truth value")
        signed = "s" if old.family == "i" else "u"
        if kind.family == "f":
            name = ("fptrunc" if kind.bits < old.bits else "fpext") if old.family == "f" else f"{signed}itofp"
        elif old.family == "f":
            name = "fptosi" if kind.family == "i" else "fptoui"
        elif kind.bits < old.bits:
            name = "trunc"
        else:
            name = "sext" if old.family == "i" else "zext"
        return self._new(kind, f"{name} {old.llvm} {value.text} to {kind.llvm}")

    def _common(self, a: Number, b: Number) -> tuple[Number, Number]:
        """Both operands in the type in which they are computed with."""
        if "f" in (a.kind.family, b.kind.family):
            kind = a.kind if a.kind.family == "f" else b.kind
            return self._fit(a, kind), self._fit(b, kind)
        if a.kind == BOOL and b.kind == BOOL:
            return a, b
        signs = {x.kind.family for x in (a, b) if x.literal is None}
        kind = U64 if signs and signs <= {"u", "b"} else I64
        return self._cast(a, kind), self._cast(b, kind)

    # Statements

    def _statements(self, nodes: Sequence[ast.stmt]) -> None:
        for node in nodes:
            self._node = node
            handler = getattr(self, f"_{type(node).__name__.lower()}", None)
            if handler is None:
                raise self._error(f"the kernel language has no {type(node).__name__}")
            handler(node)

    def _expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self._call(node.value) if isinstance(node.value, ast.Call) else self._value(node.value)

    def _pass(self, _: ast.Pass) -> None:
        pass

    def _assign(self, node: ast.Assign) -> None:
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Tuple):
            values: Sequence[Value]
            if isinstance(value, ast.Attribute) and value.attr == "shape":
                values = self._array(value.value).extents
            elif isinstance(value, ast.Tuple):
                values = [self._any(element) for element in value.elts]
            else:
                raise self._error("expected a shape or a tuple")
            for name, element in zip(target.elts, values, strict=True):
                self._set(name, element)
            return
        self._set(target, self._any(value))

    def _set(self, target: ast.expr, value: Value) -> None:
        if isinstance(target, ast.Name):
            if isinstance(value, Vector):
                self._arrays[target.id] = value
            else:
                self._store(target.id, value)
        elif isinstance(target, ast.Subscript) and isinstance(value, Number):
            array = self._array(target.value)
            if isinstance(target.slice, ast.Slice):
                self._fill(array, value)
                return
            kind = array.kind.element
            self._emit(f"store {kind.llvm} {self._fit(value, kind).text}, ptr {self._place(target)}")
        else:
            raise self._error("expected a name or an element to assign to")

    def _augassign(self, node: ast.AugAssign) -> None:
        self._set(node.target, self._arithmetic(node.op, self._value(node.target), self._value(node.value)))

    def _fill(self, array: Vector, value: Number) -> None:
        kind = array.kind.element
        text = self._fit(value, kind).text

        def body(index: Number) -> None:
            place = self._element(array, index)
            self._emit(f"store {kind.llvm} {text}, ptr {place}")

        self._loop(constant(0), array.extents[0], constant(1), body)

    def _for(self, node: ast.For) -> None:
        over, target = node.iter, node.target
        if not (isinstance(over, ast.Call) and self._resolve(over.func) is range and isinstance(target, ast.Name)):
            raise self._error("expected a loop over a range")
        given = [self._fit(self._value(a), I64) for a in over.args]
        start, stop = (constant(0), given[0]) if len(given) == 1 else given[:2]
        step = given[2] if len(given) == 3 else constant(1)

        def body(index: Number) -> None:
            self._store(target.id, index)
            self._statements(node.body)

        self._loop(start, stop, step, body)

    def _loop(self, start: Number, stop: Number, step: Number, body: Callable[[Number], None]) -> None:
        """body(index) for start, start + step, … below stop; step > 0."""
        self._count += 1
        slot = f"%index{self._count}"
        self._slots.append(f"  {slot} = alloca i64")
        self._emit(f"store i64 {start.text}, ptr {slot}")
        test, inside, after = self._label("test"), self._label("body"), self._label("after")
        self._begin(test)
        index = self._new(I64, f"load i64, ptr {slot}")
        self._branch(self._new(BOOL, f"icmp slt i64 {index.text}, {stop.text}"), inside, after)
        self._begin(inside)
        self._loops.append(after)
        body(index)
        self._loops.pop()
        if not self._ended:
            following = self._new(I64, f"add nsw i64 {index.text}, {step.text}")
            self._emit(f"store i64 {following.text}, ptr {slot}")
            self._emit(f"br label %{test}")
        self._begin(after)

    def _while(self, node: ast.While) -> None:
        test, inside, after = self._label("test"), self._label("body"), self._label("after")
        self._begin(test)
        self._branch(self._truth(node.test), inside, after)
        self._begin(inside)
        self._loops.append(after)
        self._statements(node.body)
        self._loops.pop()
        if not self._ended:
            self._emit(f"br label %{test}")
        self._begin(after)

    def _break(self, _: ast.Break) -> None:
        self._emit(f"br label %{self._loops[-1]}")

    def _if(self, node: ast.If) -> None:
        yes, no, after = self._label("yes"), self._label("no"), self._label("after")
        self._branch(self._truth(node.test), yes, no)
        for label, statements in ((yes, node.body), (no, node.orelse)):
            self._begin(label)
            self._statements(statements)
            if not self._ended:
                self._emit(f"br label %{after}")
        self._begin(after)

    def _return(self, node: ast.Return | None) -> None:
        value = None if node is None or node.value is None else self._value(node.value)
        for pointer in self._owned:
            self._emit(f"call void @free(ptr {pointer})")
        if value is None:
            self._emit("ret void" if self.result is None else f"ret {self.result.llvm} undef")
            return
        if self.result is None:
            self.result = value.kind
        self._emit(f"ret {self.result.llvm} {self._fit(value, self.result).text}")

    # Expressions

    def _resolve(self, node: ast.expr) -> Any:
        """The Python object that a name stands for, or None for what is known only when the kernel runs."""
        if isinstance(node, ast.Name):
            if node.id in self._variables or node.id in self._arrays:
                return None
            return self.module.namespace.get(node.id, getattr(builtins, node.id, None))
        if isinstance(node, ast.Attribute):
            return getattr(self._resolve(node.value), node.attr, None)
        return None

    def _any(self, node: ast.expr) -> Value:
        """An expression that may be an array."""
        if isinstance(node, ast.Name) and node.id in self._arrays:
            return self._arrays[node.id]
        if isinstance(node, ast.Call) and self._resolve(node.func) in (np.zeros, np.empty):
            return self._allocated(node)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
            return self._sliced(node)
        return self._value(node)

    def _array(self, node: ast.expr) -> Vector:
        value = self._any(node)
        if not isinstance(value, Vector):
            raise self._error("expected an array")
        return value

    def _truth(self, node: ast.expr) -> Number:
        value = self._value(node)
        if value.kind != BOOL:
            raise self._error("expected a comparison as a condition")
        return value

    def _value(self, node: ast.expr) -> Number:
        """An expression that is a number."""
        match node:
            case ast.Constant(value=value):
                return constant(value)
            case ast.Name(id=name):
                if name in self._variables:
                    kind, slot = self._variables[name]
                    return self._new(kind, f"load {kind.llvm}, ptr {slot}")
                return self._known(node)
            case ast.Subscript():
                return self._element_of(node)
            case ast.BinOp(left=left, op=op, right=right):
                return self._arithmetic(op, self._value(left), self._value(right))
            case ast.UnaryOp(op=op, operand=operand):
                return self._unary(op, self._value(operand))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                a, b = self._common(self._value(left), self._value(right))
                real, whole = _COMPARISONS[type(op)]
                if a.kind.family == "f":
                    return self._new(BOOL, f"fcmp {self.flags}{real} {a.kind.llvm} {a.text}, {b.text}")
                sign = "" if whole in ("eq", "ne") else "s" if a.kind.family == "i" else "u"
                return self._new(BOOL, f"icmp {sign}{whole} {a.kind.llvm} {a.text}, {b.text}")
            case ast.BoolOp(op=op, values=[first, *others]):
                rest: ast.expr = others[0] if len(others) == 1 else ast.BoolOp(op, others)
                if isinstance(op, ast.And):
                    return self._chosen(first, rest, ast.Constant(False))
                return self._chosen(first, ast.Constant(True), rest)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self._chosen(test, body, orelse)
            case ast.Call():
                returned = self._call(node)
                if returned is None:
                    raise self._error("expected a function that returns a number")
                return returned
            case ast.Attribute():
                return self._known(node)
        raise self._error(f"the kernel language has no {type(node).__name__}")

    def _known(self, node: ast.expr) -> Number:
        value = self._resolve(node)
        if not isinstance(value, int | float | np.generic):
            raise self._error(f"{ast.unparse(node)} is not known here")
        return constant(value)

    def _arithmetic(self, op: ast.operator, a: Number, b: Number) -> Number:
        if type(op) not in _ARITHMETIC:
            raise self._error(f"the kernel language has no {type(op).__name__}")
        real, whole = _ARITHMETIC[type(op)]
        a, b = self._common(a, b)
        kind = a.kind
        if kind.family == "f":
            if not real:
                raise self._error(f"the kernel language has no {type(op).__name__} of floating-point numbers")
            return self._new(kind, f"{real} {self.flags}{kind.llvm} {a.text}, {b.text}")
        if not whole:
            raise self._error("whole numbers are divided by //")
        if a.literal is not None and b.literal is not None and whole in ("add", "sub", "mul"):
            return constant({"add": int.__add__, "sub": int.__sub__, "mul": int.__mul__}[whole](a.literal, b.literal))
        if whole in ("div", "rem"):  # of numbers that are not negative, as all extents are
            whole = f"u{whole}"
        elif whole == "shr":
            whole = "ashr" if kind.family == "i" else "lshr"
        elif whole in ("add", "sub", "mul") and kind.family == "i":
            whole = f"{whole} nsw"
        return self._new(kind, f"{whole} {kind.llvm} {a.text}, {b.text}")

    def _unary(self, op: ast.unaryop, value: Number) -> Number:
        if isinstance(op, ast.Not):
            return self._new(BOOL, f"xor i1 {value.text}, true")
        if isinstance(op, ast.USub):
            if value.literal is not None:
                return constant(-value.literal)
            if value.kind.family == "f":
                return self._new(value.kind, f"fneg {self.flags}{value.kind.llvm} {value.text}")
            return self._arithmetic(ast.Sub(), constant(0), value)
        raise self._error(f"the kernel language has no {type(op).__name__}")

    def _chosen(self, test: ast.expr, body: ast.expr, orelse: ast.expr) -> Number:
        """body if test else orelse, as a branch: passes of LLVM learn more from one, and make a select of it where they can."""
        condition = self._truth(test)
        yes, no, after = self._label("yes"), self._label("no"), self._label("after")
        self._branch(condition, yes, no)
        self._begin(yes)
        one = self._value(body)
        end_of_yes = len(self._lines)
        self._lines.append(f"{no}:")
        other = self._value(orelse)
        kind = one.kind
        if one.literal is not None and other.literal is None:
            kind = other.kind if other.kind.family == "f" else I64
        elif kind.family in "iu" and one.kind != other.kind:
            kind = I64
        slot = f"%{after}.chosen"
        self._slots.append(f"  {slot} = alloca {kind.llvm}")
        self._put(other, kind, slot, after)
        no_block = self._lines[end_of_yes:]
        del self._lines[end_of_yes:]
        self._put(one, kind, slot, after)
        self._lines += no_block
        self._begin(after)
        return self._new(kind, f"load {kind.llvm}, ptr {slot}")

    def _put(self, value: Number, kind: Scalar, slot: str, after: str) -> None:
        self._emit(f"store {kind.llvm} {self._fit(value, kind).text}, ptr {slot}")
        self._emit(f"br label %{after}")

    # Arrays

    def _element(self, array: Vector, *indices: Number) -> str:
        """The place of an element."""
        offset = self._fit(indices[0], I64)
        for index, extent in zip(indices[1:], array.extents[1:], strict=True):
            row = self._new(I64, f"mul nsw i64 {offset.text}, {extent.text}")
            offset = self._new(I64, f"add nsw i64 {row.text}, {self._fit(index, I64).text}")
        kind = array.kind.element
        return self._new(I64, f"getelementptr inbounds {kind.llvm}, ptr {array.pointer}, i64 {offset.text}").text

    def _place(self, node: ast.Subscript) -> str:
        array = self._array(node.value)
        indices = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if len(indices) != array.kind.dimensions:
            raise self._error(f"expected {array.kind.dimensions} indices")
        return self._element(array, *map(self._value, indices))

    def _element_of(self, node: ast.Subscript) -> Number:
        if isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
            axis: int = ast.literal_eval(node.slice)
            return self._array(node.value.value).extents[axis]
        kind = self._array(node.value).kind.element
        return self._new(kind, f"load {kind.llvm}, ptr {self._place(node)}")

    def _sliced(self, node: ast.Subscript) -> Vector:
        array, cut = self._array(node.value), node.slice
        assert isinstance(cut, ast.Slice)
        if array.kind.dimensions != 1 or cut.lower is None or cut.upper is None or cut.step is not None:
            raise self._error("expected a slice [start:stop] of a vector")
        low, high = self._value(cut.lower), self._value(cut.upper)
        return Vector(array.kind, self._element(array, low), (self._arithmetic(ast.Sub(), high, low),))

    def _allocated(self, node: ast.Call) -> Vector:
        """np.zeros or np.empty of one dimension."""
        if self._loops:
            raise self._error("expected an array to be made before the loops")
        dtype = node.args[1]
        if isinstance(dtype, ast.Attribute) and dtype.attr == "dtype" and self._resolve(dtype) is None:
            kind = self._array(dtype.value).kind.element
        else:
            kind = scalar_of(self._resolve(dtype))
        length = self._fit(self._value(node.args[0]), I64)
        name = "calloc" if self._resolve(node.func) is np.zeros else "malloc"
        self.module.declared |= {name: _ALLOCATIONS[name], "free": "declare void @free(ptr)"}
        if name == "calloc":
            pointer = self._new(I64, f"call ptr @calloc(i64 {length.text}, i64 {kind.size})").text
        else:
            size = self._new(I64, f"mul nsw i64 {length.text}, {kind.size}")
            pointer = self._new(I64, f"call ptr @malloc(i64 {size.text})").text
        self._owned.append(pointer)
        return Vector(ArrayOf(dtype_of(kind), 1, True), pointer, (length,))

    # Calls

    def _call(self, node: ast.Call) -> Number | None:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "view":
            value, kind = self._value(node.func.value), scalar_of(self._resolve(node.args[0]))
            return self._new(kind, f"bitcast {value.kind.llvm} {value.text} to {kind.llvm}")
        if isinstance(node.func, ast.Name) and node.func.id in self.module.functions:
            return self._own_call(node.func.id, [self._any(a) for a in node.args])
        function = self._resolve(node.func)
        given = [self._value(a) for a in node.args]
        if isinstance(function, type) and issubclass(function, np.generic):
            return self._cast(given[0], scalar_of(function))
        if function in (min, max):
            a, b = self._common(*given)
            less = self._new(BOOL, f"icmp {'slt' if function is min else 'sgt'} i64 {a.text}, {b.text}")
            return self._new(a.kind, f"select i1 {less.text}, i64 {a.text}, i64 {b.text}")
        if function is abs:
            function = math.fabs
        if function in FUNCTIONS:
            return self._mathematics(function, given[0])
        if function in memory.INSTRUCTIONS:
            return self._instruction(function, [self._fit(a, I64) for a in given])
        raise self._error(f"the kernel language has no function {ast.unparse(node.func)}")

    def _own_call(self, name: str, values: Sequence[Value]) -> Number | None:
        own, result = self.module.called(name, tuple(v.kind for v in values))
        given = []
        for value in values:
            if isinstance(value, Vector):
                given += [f"ptr {value.pointer}", *(f"i64 {extent.text}" for extent in value.extents)]
            else:
                given.append(f"{value.kind.llvm} {value.text}")
        call = f"call {result.llvm if result else 'void'} @{own}({', '.join(given)})"
        if result is None:
            self._emit(call)
            return None
        return self._new(result, call)

    def _mathematics(self, function: Any, value: Number) -> Number:
        intrinsic, library = FUNCTIONS[function]
        if value.kind not in (F32, F64):
            raise self._error("expected a floating-point number")
        single = value.kind == F32
        name = f"{intrinsic}.f{value.kind.bits}" if intrinsic else f"{library}{'f' if single else ''}"
        self.module.declared[name] = f"declare {value.kind.llvm} @{name}({value.kind.llvm})"
        flags, llvm = self.flags if intrinsic else "", value.kind.llvm
        return self._new(value.kind, f"call {flags}{llvm} @{name}({llvm} {value.text})")

    def _instruction(self, function: Any, given: Sequence[Number]) -> Number | None:
        """One of memory.py."""
        texts = [f"i64 {value.text}" for value in given]
        if function is memory.reserve:
            self._count += 1
            slot = f"%reserved{self._count}"
            self._slots.append(f"  {slot} = alloca [{given[0].text} x i64], align 8")
            return self._new(I64, f"ptrtoint ptr {slot} to i64")
        pointer = self._new(I64, f"inttoptr {texts[0]} to ptr").text
        if function is memory.call:
            self._emit(f"call void {pointer}({', '.join(texts[1:])})")
            return None
        template, returns = memory.INSTRUCTIONS[function]
        text = template.format(pointer=pointer, value=texts[1] if len(texts) > 1 else "")
        if returns:
            return self._new(I64, text)
        self._emit(text)
        return None


_REAL = {F32: np.float32, F64: np.float64}
_ALLOCATIONS = {"calloc": "declare noalias ptr @calloc(i64, i64)", "malloc": "declare noalias ptr @malloc(i64)"}

