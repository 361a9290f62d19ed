"""A traced formula as Python statements, for the targets that compile Python (the kernel language on the CPU, Numba on CUDA).

The targets add the loops; this file generates the code of operations and creates functions from source.
"""

from __future__ import annotations

import linecache
import math
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from ..formulas.random import philox4x32
from ..symbols import BOOL, REAL, UINT32, UINT64, Node, Program
from . import cache as kernel_cache

_INFIX = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/",
    "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=",
}  # fmt: skip
_BITWISE = {"bitwise_xor": "^", "bitwise_and": "&", "right_shift": ">>"}
_CALLS = {"exp", "expm1", "log", "log1p", "sqrt", "tanh", "sin", "cos", "erf"}

class Spelling:
    """How one real dtype is written: the name of its type and the layout of its bits."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        single = dtype == np.dtype(np.float32)
        self.real = "f32" if single else "f64"
        self.unsigned, self.signed = ("u32", "i32") if single else ("u64", "i64")
        self.mantissa_bits, self.bias = (23, 127) if single else (52, 1023)
        self.one_bits = self.bias << self.mantissa_bits
        self.mantissa_mask = (1 << self.mantissa_bits) - 1

    def constant(self, node: Node) -> str:
        """A constant in the type of its kind, so that nothing is promoted."""
        kind = {REAL: self.real, UINT32: "u32", UINT64: "u64", BOOL: "bool"}[node.kind]
        value = repr(node.value) if node.value not in (math.inf, -math.inf) else f'float("{node.value}")'
        return f"{kind}({value})"

    def operation(self, node: Node, a: Sequence[str]) -> str:
        """One operation on operands that are names or constants."""
        name, real = node.operation, self.real
        if name == "select":
            return f"{a[1]} if {a[0]} else {a[2]}"
        if name == "maximum":
            return f"{a[1]} if {a[0]} < {a[1]} else {a[0]}"
        if name == "minimum":
            return f"{a[1]} if {a[1]} < {a[0]} else {a[0]}"
        if node.kind == UINT32 and name in ("add", "multiply", "subtract"):
            return f"u32(u64({a[0]}) {_INFIX[name]} u64({a[1]}))"
        if name in _INFIX:
            expression = f"{a[0]} {_INFIX[name]} {a[1]}"
            return f"u64({expression})" if node.kind == UINT64 else expression
        if name in _BITWISE:
            return f"{'u32' if node.kind == UINT32 else 'u64'}({a[0]} {_BITWISE[name]} {a[1]})"
        if name == "negative":
            return f"-{a[0]}"
        if name == "abs":
            return f"abs({a[0]})"
        if name in ("uint32", "uint64"):
            return f"{'u32' if name == 'uint32' else 'u64'}({a[0]})"
        if name == "real":
            return f"{real}({a[0]})"
        if name == "floor":
            return f"{real}(floor({a[0]}))"
        if name in _CALLS:
            return f"{real}(math.{name}({a[0]}))"
        bits = f"{real}({a[0]}).view({self.name(self.unsigned)})"
        if name == "exponent":
            return f"{real}({self.signed}({bits} >> {self.unsigned}({self.mantissa_bits})) - {self.signed}({self.bias}))"
        if name == "mantissa":
            saved = f"{bits} & {self.unsigned}({self.mantissa_mask})"
            return f"{self.unsigned}({self.unsigned}({saved}) | {self.unsigned}({self.one_bits})).view({self.name(real)})"
        if name == "power_of_two":
            shifted = f"({self.signed}({a[0]}) + {self.signed}({self.bias})) << {self.signed}({self.mantissa_bits})"
            return f"{self.signed}({shifted}).view({self.name(real)})"
        raise KeyError(f"the compiled targets have no word for {name!r}; add it to kernels/targets/source.py")

    @staticmethod
    def name(short: str) -> str:
        """The full name of a type, which Numba needs where a type is an argument."""
        return {"f32": "np.float32", "f64": "np.float64", "u32": "np.uint32", "u64": "np.uint64"}[short]


PHILOX_INPUTS = ("block", "row", "stream", "step", "key0", "key1")


@cache
def philox_program() -> Program:
    """Four words of random bits from PHILOX_INPUTS."""
    program = Program()
    return program.finish(philox4x32(*(program.input(name, UINT32) for name in PHILOX_INPUTS)))


class Lines:
    """A program as assignments.

    Attributes: constants – definitions for the module, by name; uniform – statements for what is the same for all
        elements; body – statements for each element; results – expressions of the outputs.
    """

    def __init__(self, program: Program, spelling: Spelling, inputs: Mapping[str, str], prefix: str = "t") -> None:
        """Args: inputs – the expression that gives each input its value, by name; prefix – of all names made here."""
        self.constants: dict[str, str] = {}
        self.uniform: list[str] = []
        self.body: list[str] = []
        names: list[str] = []
        for index, node in enumerate(program.nodes):
            name = f"{prefix}{index}"
            names.append(name)
            if node.operation == "constant":
                self.constants[name] = spelling.constant(node)
                continue
            if node.operation == "input":
                right = inputs[str(node.value)]
            else:
                right = spelling.operation(node, [names[a] for a in node.arguments])
            (self.uniform if node.uniform else self.body).append(f"{name} = {right}")
        self.results = [names[o] for o in program.outputs]


def indent(lines: Sequence[str], depth: int) -> list[str]:
    """The lines moved right by `depth` levels."""
    return ["    " * depth + line for line in lines]


HEADER = """\
import math

import numpy as np

f32, f64, i32, i64, u32, u64 = np.float32, np.float64, np.int32, np.int64, np.uint32, np.uint64
u16 = np.uint16
floor = np.floor
"""
"""What all generated modules begin with; a target may bind `floor` to another function after it."""


def module_text(
    name: str, parameters: Sequence[str], lines: Sequence[str], constants: Mapping[str, str], helpers: str = ""
) -> str:
    """The source of a module that holds one generated function, after the functions that it calls."""
    definitions = [f"{key} = {value}" for key, value in constants.items()]
    head = f"def {name}({', '.join(parameters)}):"
    return "\n".join([HEADER, *([helpers] if helpers else []), *definitions, "", "", head, *indent(lines, 1)]) + "\n"


def build(name: str, text: str, globals_: Mapping[str, Any] | None = None) -> FunctionType:
    """The function of a generated module, from the kernel cache where there is one.

    Args: globals_ – what the function refers to beyond its own module.
    """
    path = kernel_cache.store(name, text)
    if path is None:
        path = f"<fusedstep {name} {kernel_cache.digest(text)}>"
        linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    # Numba finds a cached kernel's globals again through sys.modules, so the module needs a name there.
    module = ModuleType(f"fusedstep_generated_{name}_{kernel_cache.digest(text)}")
    sys.modules[module.__name__] = module
    module.__dict__.update(globals_ or {})
    code = compile(text, path, "exec")
    FunctionType(code, module.__dict__)()
    function: FunctionType = module.__dict__[name]
    return function
