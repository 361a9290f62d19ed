"""Where a step runs: arrays, products, kernels and random numbers of one device behind one contract.

`contract` is the whole contract; `selection` finds a backend by name; `conformance` checks one.
"""

from .contract import Backend, Random, Unavailable
from .selection import asarray, backend, backends, having, use_backend

__all__ = ["Backend", "Random", "Unavailable", "asarray", "backend", "backends", "having", "use_backend"]
