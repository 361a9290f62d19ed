"""The tensors of a safetensors file of weights, as other libraries write them: also in 16 bits.

Model files of this package are read in framework/export/tensor_file.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import DtypeError, ModelFileError
from ..output_paths import PathLike

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""Type in the file -> how NumPy reads it; bfloat16 is the upper half of a float32."""


def read_weights(path: PathLike) -> dict[str, NDArray[Any]]:
    """Name -> tensor; those in bfloat16 as float32, which holds them exactly.

    Raises: ModelFileError for a file that cannot be read; DtypeError for tensors of other types, such as integers.
    """
    from safetensors import SafetensorError, deserialize

    try:
        stored = deserialize(Path(path).read_bytes())  # type: ignore[no-untyped-call]
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelFileError(
            f"{path}: expected a safetensors file of weights; reading failed ({error}); give the path of one, and copy it "
            "again if it is damaged"
        ) from error
    found = {}
    for name, tensor in stored:
        if tensor["dtype"] not in _TYPES:
            raise DtypeError(
                f"{path}: expected weights of the types {', '.join(_TYPES)}; {name!r} is {tensor['dtype']}; convert it before "
                "it is saved"
            )
        values = np.frombuffer(tensor["data"], _TYPES[tensor["dtype"]]).reshape(tensor["shape"])
        if tensor["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        found[name] = values
    return found
