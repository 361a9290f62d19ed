"""Probabilities of classes, from a NumPy array to a NumPy array: fusedstep, PyTorch, scikit-learn and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from ...framework.engine.model import Sequential
from ...framework.export.onnx.model_file import export_onnx
from ...framework.layers.softmax import Softmax
from ..agreement import surprise
from ..problem import Problem
from ..team import blas_threads
from ..timing import Prepared
from .base import Contender, Missing
from .ours import Ours, Threads, make_model, set_parameters
from .sklearn_peer import Sklearn, SklearnStep
from .torch_eager import TorchEager, TorchStep, threads

Array = Any


class _Rows:
    """Calls of a prediction on minibatches that lie ready, one after the other.

    Args: problem; predict – from x [B, d] to the probabilities [B, K].
    """

    def __init__(self, problem: Problem, predict: Callable[[Array], Array]) -> None:
        self._x = [x for x, _ in problem.minibatches]
        self._predict = predict
        self.begin()

    def begin(self) -> None:
        """From the first minibatch on."""
        self._turn = cycle(self._x)

    def __call__(self) -> Array:
        return self._predict(next(self._turn))


def _prepared(problem: Problem, predict: Callable[[Array], Array], around: Any) -> Prepared:
    rows = _Rows(problem, predict)
    return Prepared(rows, reset=rows.begin, around=around, losses=surprise)


class OursPredict(Ours):
    """`model.predict_proba(x)`, with all checks and conversions."""

    def prepare(self, problem: Problem) -> Prepared:
        """The model with the common start."""
        model, backend = make_model(problem), self.backend
        model.initialize(problem.seed, backend, problem.dtype)
        set_parameters(model, problem)
        return _prepared(problem, lambda x: backend.to_numpy(model.predict_proba(x)), lambda: Threads(problem.threads))


class TorchPredict(TorchEager):
    """The module in `inference_mode`, then softmax; the arrays are shared with NumPy, not copied."""

    def prepare(self, problem: Problem) -> Prepared:
        """The module in evaluation mode."""
        import torch

        network = TorchStep(problem).network.eval()

        def predict(x: Array) -> Array:
            with torch.inference_mode():
                return torch.softmax(network(torch.from_numpy(x)), 1).numpy()

        return _prepared(problem, predict, lambda: threads(problem.threads))


class SklearnPredict(Sklearn):
    """`MLPClassifier.predict_proba(x)`."""

    def prepare(self, problem: Problem) -> Prepared:
        """The classifier with the common start."""
        return _prepared(problem, SklearnStep(problem).network.predict_proba, lambda: blas_threads(problem.threads))


class OnnxRuntime(Contender):
    """`InferenceSession.run` on the processor, of the file that `export_onnx` writes, with all optimisations of the graph."""

    name: ClassVar[str] = "onnxruntime"
    needs: ClassVar[tuple[tuple[str, str], ...]] = (("onnxruntime", "onnxruntime"), ("onnx", "onnx"))

    def refuses(self, problem: Problem) -> Missing | None:
        """Its float64 kernels are not all there."""
        return None if problem.precision == "float32" else Missing("its kernels are written for float32")

    def prepare(self, problem: Problem) -> Prepared:
        """The session of the network with the common start, and a Softmax behind it."""
        import onnxruntime

        model = Sequential(*make_model(problem).layers, Softmax())
        model.initialize(problem.seed, "numpy", problem.dtype)
        set_parameters(model, problem)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = problem.threads, 3
        with TemporaryDirectory() as folder:
            export_onnx(model, path := Path(folder) / "network.onnx")
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        predict = lambda x: session.run(None, {"x": x})[0]  # noqa: E731
        return _prepared(problem, predict, lambda: blas_threads(problem.threads))
