"""`CodedNetwork`: a network with the meaning of its inputs and outputs, as it is written for other runtimes.

The encodings of columns are in tables/column_codings.py; how they are written is decided by each format, see onnx/.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..engine.model import Sequential
from ..tables.column_codings import Coding, NumberCoding


@dataclass(frozen=True)
class ColumnInputs:
    """Inputs that are columns of a table, each with its name.

    Args: codings – name and encoding of each, in order; booleans – names of those encoded as text that are booleans of which
        some were missing; blank_is_missing – whether text of nothing but blanks is missing, as in files.
    """

    codings: tuple[tuple[str, Coding], ...]
    booleans: frozenset[str] = frozenset()
    blank_is_missing: bool = False


@dataclass(frozen=True)
class MatrixInput:
    """An input x [rows, columns] of numbers.

    Args: columns – how many, None if unknown; codings – of them, all clipped or none; empty: x is used as it is.
    """

    columns: int | None
    codings: tuple[NumberCoding, ...] = ()


@dataclass(frozen=True, eq=False)
class Classes:
    """One label a row, of `labels` [K], whose logits are the outputs of the network."""

    labels: NDArray[Any]


@dataclass(frozen=True, eq=False)
class TwoClasses:
    """One label a row, of `labels` [2], of which an output of the network is the logit of the second."""

    labels: NDArray[Any]
    output: int


@dataclass(frozen=True)
class Flags:
    """Several labels a row, 0 or 1 of a type, whose logits are the outputs of the network."""

    dtype: str


@dataclass(frozen=True, eq=False)
class Numbers:
    """mean + scale y, in a type: of one output y [rows], or with output=None of all outputs y [rows, k]."""

    mean: Any
    scale: Any
    output: int | None
    dtype: str = "float64"


Answer: TypeAlias = Classes | TwoClasses | Flags | Numbers


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Networks of one input, whose probabilities or numbers are averaged.

    Args: members – each network, and the numbers of the columns that it sees, None for all; votes – whether members count by
        their answers, 1 for one label and 0 for others, instead of probabilities; feature_names – of the columns, or None.
    """

    members: Sequence[tuple[Sequential, NDArray[np.int64] | None]]
    votes: bool = False
    feature_names: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class CodedNetwork:
    """A network, what its input is made of, and what its outputs stand for.

    Args: network – or several; inputs; answers – end of the names of the outputs, such as "" or "_price", -> what they are.
    """

    network: Sequential | Ensemble
    inputs: ColumnInputs | MatrixInput
    answers: Mapping[str, Answer]


class Exportable:
    """What `fs.export_onnx` takes beside a network: table models, estimators and ensembles."""

    def coded_network(self) -> CodedNetwork:
        """The network with the meaning of its inputs and outputs; for exporters."""
        raise NotImplementedError(f"{type(self).__name__} must define coded_network")
