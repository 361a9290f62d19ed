"""Backends: arrays, matrix products, kernels and random numbers of a device, behind one contract.

`contract` defines the contract, `selection` finds a backend by name, `conformance` checks one.
"""

from .contract import Array, Backend, Random, Unavailable
from .selection import asarray, backend, backends, having, use_backend

__all__ = ["Array", "Backend", "Random", "Unavailable", "asarray", "backend", "backends", "having", "use_backend"]
