"""Compiles handwritten kernels: their source, with the functions of the vocabulary defined for one dtype.

Used for the row kernels of the CPU and of CUDA; what the kernels do is in kernels/rows.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..symbols import Program
from .source import HEADER, Lines, Spelling, indent

Expansions = tuple[tuple[str, Callable[..., Any]], ...]

WEIGHTS = "row_weights"
"""The last argument of kernels that can multiply what they write for a row by its weight."""


@dataclass(frozen=True)
class Weighted:
    """A kernel with its argument `row_weights`; the function by itself stands for the kernel without it."""

    function: Callable[..., Any]

    @property
    def __name__(self) -> str:
        return f"weighted_{self.function.__name__}"

    @classmethod
    def of(cls, function: Callable[..., Any], weights: Sequence[Any]) -> Any:
        """The kernel for given weights: none, or one array."""
        return cls(function) if weights else function


def word_function(name: str, dtype: np.dtype[Any], expansions: Expansions) -> tuple[list[str], dict[str, str]]:
    """Source lines of a scalar function for one operation of the vocabulary, and the constants that it refers to."""
    program = Program(dict(expansions))
    program = program.finish(program.emit(name, program.input("x")))
    text = Lines(program, Spelling(dtype), {"x": "x"}, prefix=f"{name}_")
    return [f"def {name}(x):", *indent([*text.body, f"return {text.results[0]}"], 1)], text.constants


def kernel_text(
    function: Any,
    words: Sequence[str],
    dtype: np.dtype[Any],
    expansions: Expansions,
    decorator: str,
    settings: Mapping[str, object],
    helpers: Sequence[Callable[..., Any]] = (),
    ways: str = "",
) -> str:
    """The source of a module with the kernel and what it calls.

    Args: function – the kernel, in a file on disk, or Weighted; words – operations of the vocabulary that it calls;
        decorator – what makes words and helpers callable from it; settings – further constants of the module;
        helpers – functions that it calls; ways – further source that it needs.
    """
    parts = [HEADER, f"real = {Spelling(dtype).real}", *(f"{k} = {v}" for k, v in settings.items())]
    parts += ["", "", ways] if ways else []
    for word in words:
        lines, constants = word_function(word, dtype, expansions)
        parts += [f"{k} = {v}" for k, v in constants.items()]
        parts += ["", "", decorator, *lines]
    for helper in helpers:
        parts += ["", "", decorator, _own_source(helper).rstrip()]
    parts += ["", "", _of_kernel(function)]
    return "\n".join(parts)


def _own_source(function: Callable[..., Any]) -> str:
    source = textwrap.dedent(inspect.getsource(function))
    return source[source.index("def ") :]


def _of_kernel(function: Any) -> str:
    """The source of a kernel; unless it is Weighted, without `row_weights` and the lines that read it."""
    if isinstance(function, Weighted):
        return _own_source(function.function).replace("def ", "def weighted_", 1)
    head, end, body = _own_source(function).partition("):\n")
    lines = [line for line in body.splitlines(keepends=True) if WEIGHTS not in line]
    return head.replace(f", {WEIGHTS}", "") + end + "".join(lines)
