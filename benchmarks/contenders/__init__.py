"""The contenders: fusedstep on each backend, and other libraries, used as their experts would.

Steps: one file per library. Trainings (fits.py), predictions.py and starts.py: one file each. base.py contains what all share.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ...errors import HyperparameterError
from ..networks import nearest
from .base import Contender, Missing, Where

__all__ = ["PEERS", "Contender", "Missing", "Where", "make_device_peer", "make_ours", "make_peer", "peer_names"]

PEERS = {
    "step": {
        "torch": "torch_eager:TorchEager",
        "torch-compile": "torch_compiled:TorchCompiled",
        "jax": "jax_peer:Jax",
        "sklearn": "sklearn_peer:Sklearn",
        "handwritten": "handwritten:Handwritten",
    },
    "fit": {"torch": "fits:TorchLoop", "jax-scan": "fits:JaxEpochs", "sklearn": "fits:SklearnLoop"},
    "predict": {
        "torch": "predictions:TorchPredict",
        "sklearn": "predictions:SklearnPredict",
        "onnxruntime": "predictions:OnnxRuntime",
    },
    "start": {"torch": "starts:ImportTorch"},
    "ranks": {"torch": "ranks:TorchRanks"},
    "ranks-fit": {"torch": "ranks:TorchFitRanks"},
}
"""Workload -> name -> module and class; imported on first use."""

OURS = {
    "step": ["ours:Ours"],
    "fit": ["fits:OursFit"],
    "predict": ["predictions:OursPredict"],
    "start": ["starts:ColdStart", "starts:WarmStart", "starts:TrainCommand", "starts:PredictCommand"],
}
"""Workload -> fusedstep's own contenders; each is made for a backend."""

DEVICE_PEERS = {
    "torch": PEERS["step"]["torch"],
    "torch-graph": "torch_graph:TorchGraph",
    "jax": PEERS["step"]["jax"],
    "jax-scan": "jax_peer:JaxScan",
    "torch-compile": PEERS["step"]["torch-compile"],
    "torch-max-autotune": "torch_compiled:TorchMaxAutotune",
}
"""The contenders that also run on a GPU; the one with the longest preparation comes last."""


def make_ours(backend: Any, workload: str) -> list[Contender]:
    """fusedstep's own contenders on a backend that works here."""
    return [_class(place)(backend) for place in OURS[workload]]


def make_peer(name: str, workload: str = "step") -> Contender:
    """The peer of that name, whether or not it can run here."""
    made: Contender = _class(PEERS[workload][name])()
    return made


def make_device_peer(name: str, where: Where) -> Contender:
    """The peer of that name out of DEVICE_PEERS, on that device, whether or not it can run there."""
    made: Contender = _class(DEVICE_PEERS[name])(where)
    return made


def _class(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(f"{__package__}.{module}"), attribute)


def peer_names(text: str, workloads: Sequence[str] = ("step",)) -> list[str]:
    """The peers of a list such as "torch, jax"; "all" for all that the workloads have, nothing for none.

    Raises: HyperparameterError for an unknown name.
    """
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    peers = list(dict.fromkeys(name for workload in workloads for name in PEERS[workload]))
    if "all" in wanted:
        return peers
    for name in wanted:
        if name not in peers:
            known = (*peers, "all")
            raise HyperparameterError(f"expected peers out of {', '.join(known)}; got {name!r}; {nearest(name, known)}")
    return list(dict.fromkeys(wanted))
