"""Translates a product of row-major arrays for cuBLASLt: column-major, with exchanged operands.

A row-major out = op(a) op(b) is the same memory as a column-major out^T = op(b)^T op(a)^T. So A of cuBLASLt is our b, its B is
our a, and its m is the number of columns of out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ....errors import ShapeError
from ...arrays import Array
from .codes import ITEM_BYTES, Compute, DataType, Epilogue

INPUTS = {(DataType.float32, DataType.float32), (DataType.float64, DataType.float64)} | {
    (small, out) for small in (DataType.float16, DataType.bfloat16) for out in (small, DataType.float32)
}
"""(type of both operands, type of the result) of the products that are used here, all of which cuBLASLt supports."""
MOST_ALIGNMENT = 256
"""Bytes; algorithms do not require a larger alignment of pointers."""


class Unsuited(Exception):
    """cuBLASLt does not support the types or strides of the arrays."""


@dataclass(frozen=True)
class Operand:
    """A column-major matrix [rows, columns] with a leading dimension; transposed – whether the product uses its transpose."""

    transposed: bool
    rows: int
    columns: int
    leading: int

    @classmethod
    def of(cls, shape: tuple[int, ...], strides: tuple[int, ...], item: int) -> Operand:
        """The operand for an array of that shape and strides (in bytes), seen as its transpose.

        Raises: Unsuited unless the elements of each row or of each column are adjacent, and rows or columns do not overlap.
        """
        rows, columns = shape
        down, across = strides
        if columns <= 1 or across == item:
            leading = max(columns, 1) if rows <= 1 else down // item
            if leading >= max(columns, 1) and (rows <= 1 or down == leading * item):
                return cls(False, columns, rows, leading)
        if rows <= 1 or down == item:
            leading = max(rows, 1) if columns <= 1 else across // item
            if leading >= max(rows, 1) and (columns <= 1 or across == leading * item):
                return cls(True, rows, columns, leading)
        raise Unsuited(f"strides {strides} of an array {shape}")


@dataclass(frozen=True)
class ProductProblem:
    """Everything about a product except the addresses; algorithms are selected by it.

    Attributes: dtype – of both operands; out_type; compute – type of the computation; a, b, out – in cuBLASLt's order;
        accumulate – whether the product is added to `out`; alignment – bytes that divide all addresses; epilogue; vector_type –
        of the bias or its gradient; aux_leading – leading dimension of the mask or the saved input; count – number of products
        of matrices in stacks; offsets – elements from one matrix to the next of a, b and out, in cuBLASLt's order.
    """

    dtype: DataType
    out_type: DataType
    compute: Compute
    a: Operand
    b: Operand
    out: Operand
    accumulate: bool
    alignment: int
    epilogue: Epilogue = Epilogue.NONE
    vector_type: DataType = DataType.float32
    aux_leading: int = 0
    count: int = 1
    offsets: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def of(
        cls, a: Array, b: Array, out: Array, accumulate: bool, alignment: int, tf32: bool, epilogue: Epilogue = Epilogue.NONE,
        vector_type: DataType = DataType.float32, aux_leading: int = 0,
    ) -> ProductProblem:  # fmt: skip
        """out = a b for arrays [m, k], [k, n] and [m, n]; a and b may be transposes of row-major arrays.

        All three may be stacks of as many matrices.

        Raises: Unsuited; ShapeError if the shapes do not fit.
        """
        if len(out.shape) == 3:
            one = cls.of(a[0], b[0], out[0], accumulate, alignment, tf32)
            offsets = tuple(x.strides[0] // ITEM_BYTES[data_type(x)] for x in (b, a, out))
            return replace(one, count=int(out.shape[0]), offsets=offsets)
        if a.shape[1] != b.shape[0] or tuple(out.shape) != (a.shape[0], b.shape[1]):
            raise ShapeError(
                f"expected a product [m, k] [k, n] into [m, n]; got {tuple(a.shape)} {tuple(b.shape)} into {tuple(out.shape)}; "
                "check the widths"
            )
        dtype, other, out_type = (data_type(x) for x in (a, b, out))
        if dtype is not other or (dtype, out_type) not in INPUTS:
            raise Unsuited(f"a product of {a.dtype} and {b.dtype} into {out.dtype}")
        item = ITEM_BYTES[dtype]
        target = Operand.of(out.shape, out.strides, ITEM_BYTES[out_type])
        if target.transposed:
            raise Unsuited(f"strides {out.strides} of a result {out.shape}")
        compute = Compute.float64 if dtype is DataType.float64 else Compute.float32
        if tf32 and dtype is DataType.float32:
            compute = Compute.tf32
        return cls(
            dtype, out_type, compute, Operand.of(b.shape, b.strides, item), Operand.of(a.shape, a.strides, item), target,
            accumulate, alignment, epilogue, vector_type, aux_leading,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The key under which the choice for this product is stored."""
        m, n = self.out.rows, self.out.columns
        k = self.a.columns if not self.a.transposed else self.a.rows
        letters = "".join("T" if operand.transposed else "N" for operand in (self.a, self.b))
        return (
            f"{self.dtype.name} {self.out_type.name} {self.compute.name} {letters} {m}x{n}x{k} ld {self.a.leading} "
            f"{self.b.leading} {self.out.leading} beta {int(self.accumulate)} epilogue {int(self.epilogue)} "
            f"{self.vector_type.name} {self.aux_leading} align {self.alignment}"
            + (f" count {self.count} offsets {' '.join(map(str, self.offsets))}" if self.count > 1 else "")
        )


def data_type(array: Array) -> DataType:
    """The type of the elements.

    Raises: Unsuited for types other than those of DataType.
    """
    try:
        return DataType[array.dtype.name]
    except KeyError:
        raise Unsuited(f"elements of type {array.dtype}") from None


def alignment_of(*addresses: int) -> int:
    """The largest power of two, up to MOST_ALIGNMENT, that divides all of them."""
    bits = MOST_ALIGNMENT
    for address in addresses:
        bits |= address
    return bits & -bits
