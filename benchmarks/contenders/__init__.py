"""The contenders: fusedstep's own step on each backend, and other libraries', each written as its experts would.

One file each; what they share is in base.py.
"""

from __future__ import annotations

from importlib import import_module

from ...errors import HyperparameterError
from ..networks import nearest
from .base import Contender, Missing

__all__ = ["PEERS", "Contender", "Missing", "make_peer", "peer_names"]

PEERS = {
    "torch": "torch_eager:TorchEager",
    "torch-compile": "torch_compiled:TorchCompiled",
    "jax": "jax_peer:Jax",
    "sklearn": "sklearn_peer:Sklearn",
    "handwritten": "handwritten:Handwritten",
}
"""Name -> module and class; none is imported before it is asked for."""


def make_peer(name: str) -> Contender:
    """The peer of that name, whether or not it can run here."""
    module, _, attribute = PEERS[name].partition(":")
    made: Contender = getattr(import_module(f"{__package__}.{module}"), attribute)()
    return made


def peer_names(text: str) -> list[str]:
    """The peers of a list such as "torch, jax"; "all" for all of them, nothing for none.

    Raises: HyperparameterError for an unknown name.
    """
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    if "all" in wanted:
        return list(PEERS)
    for name in wanted:
        if name not in PEERS:
            known = (*PEERS, "all")
            raise HyperparameterError(f"expected peers out of {', '.join(known)}; got {name!r}; {nearest(name, known)}")
    return list(dict.fromkeys(wanted))
