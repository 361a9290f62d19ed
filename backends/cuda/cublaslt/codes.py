"""Constants of cuBLASLt's C interface that are used here: data types, compute types, epilogues, attributes, statuses.

Names are those of the header without their prefixes.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

ALGORITHM_BYTES = 64
"""Size of cublasLtMatmulAlgo_t, which may be copied, and stored for the same version of the library."""
MASK_COLUMNS = 128
"""The leading dimension of a ReLU bit mask, in bits, is a multiple of this."""
AUX_COLUMNS = 8
"""The leading dimension of the saved input of a GELU, in elements, is a multiple of this."""

BGRAD = 16
"""The bit of an epilogue that adds the bias gradient to that of the activation."""


class DataType(IntEnum):
    """cudaDataType_t."""

    float32 = 0
    float64 = 1
    float16 = 2
    bfloat16 = 14


ITEM_BYTES = {DataType.float32: 4, DataType.float64: 8, DataType.float16: 2, DataType.bfloat16: 2}


class Compute(IntEnum):
    """cublasComputeType_t: the type in which products are computed and accumulated."""

    float32 = 68
    float64 = 70
    tf32 = 77


class Epilogue(IntFlag):
    """cublasLtEpilogue_t: operations on the product before it is stored."""

    NONE = 1
    RELU = 2
    BIAS = 4
    RELU_BIAS = 6
    RELU_AUX = 130
    RELU_AUX_BIAS = 134
    DRELU = 136
    DRELU_BGRAD = 152
    GELU = 32
    GELU_BIAS = 36
    GELU_AUX = 160
    GELU_AUX_BIAS = 164
    DGELU = 192
    DGELU_BGRAD = 208
    BGRADA = 256
    BGRADB = 512

    @property
    def takes_vector(self) -> bool:
        """Whether it reads a bias, or writes the gradient of one."""
        return bool(self & 4 or self & 16 or self & 256 or self & 512)

    @property
    def takes_mask(self) -> bool:
        """Whether it writes or reads a ReLU bit mask."""
        return bool(self & 128) and bool(self & (2 | 8))

    @property
    def takes_input(self) -> bool:
        """Whether it writes or reads the input of a GELU."""
        return bool(self & 128) and bool(self & (32 | 64))


class DescriptorAttribute(IntEnum):
    """cublasLtMatmulDescAttributes_t."""

    TRANSA = 3
    TRANSB = 4
    EPILOGUE = 7
    BIAS_POINTER = 8
    EPILOGUE_AUX_POINTER = 11
    EPILOGUE_AUX_LD = 12
    BIAS_DATA_TYPE = 26


class LayoutAttribute(IntEnum):
    """cublasLtMatrixLayoutAttribute_t."""

    BATCH_COUNT = 5
    STRIDED_BATCH_OFFSET = 6


class PreferenceAttribute(IntEnum):
    """cublasLtMatmulPreferenceAttributes_t."""

    MAX_WORKSPACE_BYTES = 1
    REDUCTION_SCHEME_MASK = 3
    MIN_ALIGNMENT_A_BYTES = 5
    MIN_ALIGNMENT_B_BYTES = 6
    MIN_ALIGNMENT_C_BYTES = 7
    MIN_ALIGNMENT_D_BYTES = 8


ALIGNMENTS = tuple(which for which in PreferenceAttribute if which.name.startswith("MIN_ALIGNMENT"))
ORDERED_REDUCTIONS = 2 | 4
"""The values of cublasLtReductionScheme_t that add partial sums in a separate step: all except INPLACE."""


class Status(IntEnum):
    """cublasStatus_t."""

    SUCCESS = 0
    NOT_INITIALIZED = 1
    ALLOC_FAILED = 3
    INVALID_VALUE = 7
    ARCH_MISMATCH = 8
    MAPPING_ERROR = 11
    EXECUTION_FAILED = 13
    INTERNAL_ERROR = 14
    NOT_SUPPORTED = 15
    LICENSE_ERROR = 16
