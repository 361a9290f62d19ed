"""Matrix products of the CUDA backend through cuBLASLt: plans that are made once and run by a single call.

library.py talks to the real library; tests/fakes/cublaslt.py stands in for it without a device, and the rest is the same.
"""

from .codes import Compute, DataType, Epilogue, Status
from .dense import DenseProducts
from .device import CupyDevice
from .gemms import Gemms
from .library import CublasLt
from .problem import Unsuited
from .products import PlannedProducts

__all__ = [
    "Compute", "CublasLt", "CupyDevice", "DataType", "DenseProducts", "Epilogue", "Gemms", "PlannedProducts", "Status",
    "Unsuited",
]  # fmt: skip
