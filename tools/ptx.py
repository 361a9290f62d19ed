"""The PTX of a CUDA kernel, compiled without a device."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..kernels.targets.cuda.kernel import Generated
from .kernel_variants import Variant

CAPABILITY = (9, 0)
OLDER = (8, 0)
"""The other capability that everything has to compile for."""


@contextmanager
def without_device(capability: tuple[int, int] = CAPABILITY) -> Iterator[None]:
    """Numba asks the device for its capability when it types `view` of a scalar, although the code is inlined."""
    import numba.cuda.dispatcher as dispatcher

    class NoDevice:
        compute_capability = capability

    before = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: NoDevice
    try:
        yield
    finally:
        dispatcher.get_current_device = before


def ptx_of(generated: Generated, capability: tuple[int, int] = CAPABILITY) -> str:
    """The PTX of a kernel."""
    from numba.cuda import compile_ptx

    with without_device(capability):
        text, _ = compile_ptx(generated.function(), generated.parameters, cc=capability)
    return str(text)


def ptx_for(generated: Generated, *capabilities: tuple[int, int]) -> list[str]:
    """The PTX of a kernel for each capability; Numba's own passes, nearly all of the time, are run once for all of them.

    Numba has no public function for that; one that has lost this one compiles for each.
    """
    from numba.cuda import compiler

    compile_once = getattr(compiler, "_compile_pyfunc_with_fixup", None)
    if compile_once is None:
        return [ptx_of(generated, capability) for capability in capabilities]
    with without_device(capabilities[0]):
        library, _ = compile_once(
            generated.function(), generated.parameters, device=False, abi="numba", cc=capabilities[0]
        )
    return [library.get_asm_str(cc=capability) for capability in capabilities]


def require_single(variant: Variant, text: str) -> None:
    """Raises RuntimeError for double arithmetic, and for functions that nothing defines or that were not inlined."""
    for what, found in (
        ("a kernel", ".entry" not in text),
        ("no double arithmetic", ".f64" in text),
        ("no function that nothing defines", re.search(r"^\s*\.extern(?!.*\.shared)", text, re.MULTILINE)),
        ("every function inlined", re.search(r"^\s*call", text, re.MULTILINE)),
    ):
        if found:
            raise RuntimeError(f"expected {what} in kernel {variant}; got this PTX:\n{text}")


def find_ptxas() -> str | None:
    """The assembler of the wheel nvidia-cuda-nvcc, or None without it."""
    try:
        import nvidia  # type: ignore[import-untyped]
    except ImportError:
        return None
    return next((str(p) for root in nvidia.__path__ for p in Path(root).glob("*/bin/ptxas")), None)
