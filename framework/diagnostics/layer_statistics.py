"""LayerStatistics: mean and standard deviation of activations and gradients of each layer, over depth and time.

Each sample is a separate pass; nothing is computed between samples. plots/layers.py draws the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...backends import Array
from ...errors import HyperparameterError, StateError
from ..engine.training_chain import chain_with_loss
from ..layers import Layer
from ..layers.activations import HiddenActivation, Identity
from ..layers.dense import Maxout
from ..layers.softmax import Softmax
from ..settings import choice, whole
from ..suggestions import suggests_arguments
from ..training.callbacks import Callback
from .units import THRESHOLD, active, can_die, check_threshold, saturated, saturates
from .watched import named_layers, watched

if TYPE_CHECKING:
    from ..engine.step import TrainStep
    from ..export.output_paths import PathLike
    from ..training.trainer import Trainer

QUANTITIES = ("activation_mean", "activation_std", "gradient_mean", "gradient_std", "saturated", "dead")


@suggests_arguments
class LayerStatistics(Callback):
    """Mean and standard deviation of each layer's outputs and their gradients, and fractions of saturated and dead units.

    Samples are taken after the first step of a fit and after each step whose number is a multiple of `every`, by an additional
    forward and backward pass in training mode and in the precision of the step, with the parameters after the step. Values stay
    on the device until they are read. Training is not affected and stays bit-identical. During a fit it needs memory for the
    buffers of that pass and an additional gradient.

    Args: every – steps between samples, >= 1, default 50; data – (x, y) for the pass, also sampled once before the first step;
        None (default) uses the minibatch of the step, or its last micro-batch; threshold – which outputs count as saturated,
        see unit_report.
    Attributes: layers – names of the layers, including nested ones, as in model.parameters(); shown – positions of those that
        `plot` shows; steps – step number of each sample.

    statistics[quantity] is a NumPy array [samples, layers]. Quantities: "activation_mean", "activation_std" – over rows and
    units of the layer's output, before dropout in later layers; "gradient_mean", "gradient_std" – of the gradient of the loss
    with respect to that output; "saturated" – fraction of the outputs of Sigmoid and Tanh that are near a limit, NaN for other
    layers; "dead" – fraction of the ReLU units that are active for no row of the sample, NaN for other layers. A small
    minibatch has more dead units than a data set, so pass `data` for this quantity, or use unit_report.

        statistics = fs.LayerStatistics(every=100)
        fs.Trainer(step, callbacks=[statistics]).fit(x, y)
        statistics.plot("layers.png")
    Source: notes 000, 002 and 004 (vanishing and exploding gradients); Glorot and Bengio (2010).
    """

    def __init__(self, every: int = 50, data: tuple[Any, Any] | None = None, threshold: float = THRESHOLD) -> None:
        self.every = whole(every, "every of LayerStatistics")
        if data is not None and not (isinstance(data, tuple | list) and len(data) == 2):
            raise HyperparameterError(f"expected data=(x, y), or None; got {data!r}")
        self.data = data
        self.threshold = check_threshold(threshold)
        self.layers: list[str] = []
        self.shown: list[int] = []
        self.steps: list[int] = []
        self._stacked: list[Array] = []
        self._named: list[tuple[str, int]] = []
        self._prepared: tuple[Array, Array] | None = None
        self._look: _Look | None = None
        self._to_numpy: Any = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Discards samples of an earlier fit; takes the first sample if `data` was given."""
        self.steps, self._stacked, self._named = [], [], []
        step = trainer.step
        self._look = _Look(step, self.threshold)
        self._to_numpy = step.backend.to_numpy
        self.layers = [name for name, _ in self._look.layers]
        self.shown = _worth_showing([layer for _, layer in self._look.layers])
        if self.data is not None:
            self._prepared = step.prepare(*self.data, "x of LayerStatistics")
            self._record(step, self._prepared)

    def on_step_end(self, trainer: Trainer, done: int, total: int) -> None:  # noqa: ARG002
        """Takes a sample after the steps that `every` selects."""
        number = trainer.step.steps
        if number % self.every == 0 or (done == 1 and not self.steps):
            seen = self._prepared or trainer.minibatch
            assert seen is not None
            self._record(trainer.step, seen)

    def on_fit_end(self, trainer: Trainer) -> None:  # noqa: ARG002
        """Releases buffers and data."""
        self._look = self._prepared = None

    def state(self) -> dict[str, Any]:
        """The samples so far."""
        return {"steps": self.steps, "named": self._named, "samples": [self._to_numpy(a) for a in self._stacked]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See Callback."""
        assert self._look is not None
        backend = self._look.step.backend
        self.steps, self._named = list(state["steps"]), [(name, layer) for name, layer in state["named"]]
        self._stacked = [backend.asarray(values, "float64") for values in state["samples"]]

    def _record(self, step: TrainStep, seen: tuple[Array, Array]) -> None:
        assert self._look is not None
        found = self._look.at(*seen, step.steps)
        self._named = list(found)
        self._stacked.append(step.backend.xp.stack(list(found.values())))
        self.steps.append(step.steps)

    def __getitem__(self, quantity: str) -> NDArray[np.float64]:
        column = choice(quantity, "quantity", QUANTITIES)
        values = np.full((len(self.steps), len(self.layers)), np.nan)
        for row, stacked in zip(values, self._stacked, strict=True):
            for (name, layer), value in zip(self._named, self._to_numpy(stacked).tolist(), strict=True):
                if name == column:
                    row[layer] = value
        return values

    def plot(self, path: PathLike | None = None) -> Any:
        """Plots activations and gradients over depth (first, middle and last sample) and over time, and saturated and dead
        units.

        Shows the activation layers (all layers if there are none) and the last layer.

        Args: path – of a .png, .svg or .pdf file to write; None writes nothing.
        Returns: the matplotlib Figure; it is not shown.
        Raises: StateError before the first sample, MissingDependency without matplotlib, OutputPathError.
        """
        if not self.steps:
            raise StateError("expected at least one sample of the layers; got none; train with this callback first")
        from .plots.layers import plot_statistics

        return plot_statistics(self, path)

    def __repr__(self) -> str:
        return f"<LayerStatistics every {self.every} steps: {len(self.steps)} looks at {len(self.layers)} layers>"


class _Look:
    """A Watcher that computes the statistics of one sample by a pass through the layers of a step."""

    def __init__(self, step: TrainStep, threshold: float) -> None:
        self.step = step
        self.threshold = threshold
        self.layers = list(named_layers(step.chain))
        self.chain = chain_with_loss(watched(step.chain, self), step.training_loss, step.state.loss_scale)
        self.tape = step.new_tape(step.model.arena.new())
        self.found: dict[tuple[str, int], Array] = {}

    def at(self, inputs: Array, targets: Array, number: int) -> dict[tuple[str, int], Array]:
        """Runs the pass; returns (quantity, layer number) -> float64 scalar on the device."""
        self.found = {}
        self.tape.begin(int(inputs.shape[0]))
        self.tape.set_step(number)
        with self.step.backend.quiet(), self.step.products():
            self.chain.forward(inputs, targets, self.tape)
            self.chain.backward(self.tape)
        return self.found

    def forward(self, place: int, y: Array) -> None:
        """See Watcher."""
        backend, layer = self.step.backend, self.layers[place][1]
        self._moments("activation", place, y, 1.0)
        if saturates(layer):
            near = saturated(backend, layer, y, self.threshold)
            self.found["saturated", place] = near / (int(y.shape[0]) * int(y.shape[1]))
        elif can_die(layer):
            alive = backend.xp.astype(active(backend, layer, y), backend.xp.float64)
            self.found["dead", place] = 1.0 - backend.xp.mean(alive)

    def backward(self, place: int, dy: Array) -> None:
        """See Watcher."""
        scale = self.step.state.loss_scale
        self._moments("gradient", place, dy, 1.0 if scale is None else scale.scale[0])

    def _moments(self, name: str, place: int, values: Array, scale: Any) -> None:
        backend = self.step.backend
        wide = backend.xp.astype(backend.wide(values), backend.xp.float64)
        self.found[f"{name}_mean", place] = backend.xp.mean(wide) / scale
        self.found[f"{name}_std", place] = backend.xp.std(wide) / scale


def _worth_showing(layers: list[Layer]) -> list[int]:
    """Positions of the activation layers and the last layer; of all layers if there is no activation."""
    kinds = (HiddenActivation, Maxout, Softmax)
    chosen = [k for k, layer in enumerate(layers) if isinstance(layer, kinds) and not isinstance(layer, Identity)]
    if not chosen:
        return list(range(len(layers)))
    return chosen if chosen[-1] == len(layers) - 1 else [*chosen, len(layers) - 1]
