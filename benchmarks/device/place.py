"""The device of a run with its clocks, or fakes of them in a dry run."""

from __future__ import annotations

import gc
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from ...errors import BackendUnavailable
from ...kernels.targets import cache
from .. import machine
from ..clocks import HOST, StandIn, cupy_events, torch_events
from ..contenders import DEVICE_PEERS, Contender, Where, make_device_peer
from ..networks import Network
from ..results import LeftOut

SIMULATOR = "NUMBA_ENABLE_CUDASIM"
DRY = "dry run"
JAX_FRACTION = "0.35"
"""Of the memory of the device, at most: on 80 GB all libraries have to be there at once."""


@dataclass
class Place:
    """A device, or a fake device.

    Args: backend – fusedstep's; dry – whether it is a dry run; ours – the clock of our own calls; peers – those that can run
        here; left_out – those that cannot; facts – name, memory and versions of the device; drawn – what has been drawn for the
        last network, and the losses from there.
    """

    backend: Any
    dry: bool
    ours: Where
    peers: list[Contender]
    left_out: list[LeftOut]
    facts: dict[str, Any]
    drawn: dict[Network, tuple[dict[str, Any], list[float]]] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """Of our own timings, and so of the floors beside them."""
        return str(self.backend.device)

    @property
    def torch(self) -> Where | None:
        """Where PyTorch runs, None without it."""
        return next((peer.where for peer in self.peers if peer.name == "torch"), None)  # type: ignore[attr-defined]

    def tidy(self) -> None:
        """Releases device memory: each library caches its memory, and the next part needs it."""
        compiler = sys.modules.get("torch._dynamo")
        if compiler is not None:
            compiler.reset()
        self.release(search=True)

    def lost(self) -> str:
        """Why the device no longer works in this process, "" if it does.

        After a kernel that read or wrote where nothing is, CUDA refuses everything until the process ends, to all libraries.
        """
        try:
            self.backend.synchronize()
        except Exception as error:  # whatever it is, nothing that needs the device will run any more
            return f"{type(error).__name__}: {error}"
        return ""

    def release(self, search: bool = False) -> None:
        """Releases unreferenced memory; compiled and captured objects stay.

        Args: search – whether to collect reference cycles as well, which takes about a second.
        """
        if search:
            gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
        pool = getattr(self.backend.xp, "get_default_memory_pool", None)
        if pool is not None:
            pool().free_all_blocks()


def prepare_process(dry: bool) -> None:
    """What has to be in the environment before Numba and JAX are imported."""
    # JAX would take three quarters of the memory at its first array.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if not dry:
        # It takes more in ever larger pieces and gives none back; what it needs here is less than half of its share.
        if "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:  # the older name, which may not be there besides
            os.environ.setdefault("XLA_CLIENT_MEM_FRACTION", JAX_FRACTION)
        # The next process can use what it compiled, as with torch.compile.
        compiled = cache.folder()
        if compiled is not None:
            os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled / "jax"))
    elif "numba" not in sys.modules:
        os.environ[SIMULATOR] = "1"


def find_place(dry: bool) -> Place:
    """The device of this machine, or the stand-ins.

    Raises: BackendUnavailable where there is no device and no dry run is asked for.
    """
    backend = _stand_in() if dry else _device()
    if dry:
        still = Where("cpu", StandIn())
        wheres = dict.fromkeys(DEVICE_PEERS, still)
        facts = {"name": DRY, "stand_in": _described(backend)}
    else:
        still = Where("cuda", cupy_events())
        # torch's events are made when torch is there: `_present` asks first.
        wheres = {name: Where("cuda", HOST) for name in DEVICE_PEERS}
        facts = machine.device(backend)
    peers, left_out = _present(wheres, dry)
    return Place(backend, dry, Where(backend.device, still.clock), peers, left_out, facts)


def _present(wheres: dict[str, Where], dry: bool) -> tuple[list[Contender], list[LeftOut]]:
    found, left_out = [], []
    for name, where in wheres.items():
        peer: Any = make_device_peer(name, where)
        absent = peer.missing()
        if absent is not None:
            left_out.append(LeftOut(name, absent.reason, absent.remedy))
            continue
        if not dry and name.startswith("torch"):
            peer.where = where._replace(clock=torch_events())
        found.append(peer)
    return found, left_out


def _device() -> Any:
    from ...backends import backend
    from ...backends.cuda.backend import simulated
    from ...backends.selection import why_not

    problem = why_not("cuda")
    if problem is None and not simulated():
        return backend("cuda")
    found = f"Numba's simulator ({SIMULATOR}=1)" if problem is None else f"none ({problem.reason}; {problem.remedy})"
    raise BackendUnavailable(
        f"expected a CUDA device to measure; got {found}; run it on a machine with one (bash benchmarks/on_a_gpu.sh "
        "runs everything), or do a dry run without one: fusedstep bench --device cuda --dry-run"
    ) from (problem.cause if problem is not None else None)


def simulated_cuda() -> Any:
    """The fake cuda backend in Numba's simulator; it is part of the tests, so a dry run needs a checkout.

    Raises: BackendUnavailable.
    """
    try:
        from ...tests.fakes import simulate_cuda
    except ImportError as error:
        raise BackendUnavailable(
            "expected a checkout of the repository, whose tests/fakes contain a fake device; got an installed package without "
            "them; clone the repository and run the command there"
        ) from error
    return simulate_cuda()


def _stand_in() -> Any:
    """Our CUDA backend in Numba's simulator, or NumPy where Numba has been imported without it."""
    from ...backends import backend
    from ...backends.cuda.backend import simulated
    from ...backends.cuda.toolchain import numba_cuda_problem

    return simulated_cuda() if simulated() and numba_cuda_problem() is None else backend("numpy")


def _described(backend: Any) -> str:
    return "the cuda backend in Numba's simulator" if backend.name == "cuda" else f"the {backend.name} backend"
