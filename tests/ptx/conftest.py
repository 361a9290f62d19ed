"""CUDA code compiled without a device: Numba to PTX, PTX with ptxas, CUDA C with NVRTC and with the host's compiler."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
