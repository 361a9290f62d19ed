"""The contenders: the step of fusedstep on each backend, and steps in other libraries, written as their experts would.

One file each; base.py contains what they share.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ...errors import HyperparameterError
from ..networks import nearest
from .base import Contender, Missing, Where

__all__ = ["PEERS", "Contender", "Missing", "Where", "make_device_peer", "make_peer", "peer_names"]

PEERS = {
    "torch": "torch_eager:TorchEager",
    "torch-compile": "torch_compiled:TorchCompiled",
    "jax": "jax_peer:Jax",
    "sklearn": "sklearn_peer:Sklearn",
    "handwritten": "handwritten:Handwritten",
}
"""Name -> module and class; imported on first use."""


DEVICE_PEERS = {
    "torch": PEERS["torch"],
    "torch-graph": "torch_graph:TorchGraph",
    "jax": PEERS["jax"],
    "jax-scan": "jax_peer:JaxScan",
    "torch-compile": PEERS["torch-compile"],
    "torch-max-autotune": "torch_compiled:TorchMaxAutotune",
}
"""The contenders that also run on a GPU; the one with the longest preparation comes last."""


def make_peer(name: str) -> Contender:
    """The peer of that name, whether or not it can run here."""
    made: Contender = _class(PEERS[name])()
    return made


def make_device_peer(name: str, where: Where) -> Contender:
    """The peer of that name out of DEVICE_PEERS, on that device, whether or not it can run there."""
    made: Contender = _class(DEVICE_PEERS[name])(where)
    return made


def _class(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(f"{__package__}.{module}"), attribute)


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
