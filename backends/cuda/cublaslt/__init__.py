"""Matrix products of the CUDA backend with cuBLASLt: plans that are created once and run by a single call.

library.py calls the real library; without a device, tests/fakes/cublaslt.py replaces that one file.
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
