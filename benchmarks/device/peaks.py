"""Peak rates of GPUs according to their vendors, by the name that the driver reports: operations per second by precision.

Dense products, without sparsity, in TFLOP/s. Sources: NVIDIA H200 and H100 data sheets (2024; the figures there for TF32 and
bfloat16 count structured sparsity and are halved here), NVIDIA A100 data sheet (2021).
"""

from __future__ import annotations

from typing import NamedTuple


class Peak(NamedTuple):
    """Stated rates of a GPU, in TFLOP/s, and where they are stated."""

    float32: float
    tf32: float
    bfloat16: float
    source: str

    def rate(self, precision: str) -> float | None:
        """Operations a second in that precision, None where none is stated."""
        stated = {"float32": self.float32, "tf32": self.tf32, "bfloat16": self.bfloat16, "float16": self.bfloat16}
        return 1e12 * stated[precision] if precision in stated else None


H200, H100, A100 = "NVIDIA H200 data sheet", "NVIDIA H100 data sheet", "NVIDIA A100 data sheet"

PEAKS = (
    ("H200 NVL", Peak(60.0, 417.5, 835.5, H200)),
    ("H200", Peak(67.0, 494.5, 989.5, H200)),
    ("H100 NVL", Peak(60.0, 417.5, 835.5, H100)),
    ("H100 PCIe", Peak(51.0, 378.0, 756.0, H100)),
    ("H100", Peak(67.0, 494.5, 989.5, H100)),
    ("A100", Peak(19.5, 156.0, 312.0, A100)),
)
"""Part of the name -> what is stated; the first that fits."""


def peak(device: str) -> Peak | None:
    """What is stated of a device of that name, None where this table has nothing."""
    return next((stated for part, stated in PEAKS if part.lower() in device.lower()), None)
