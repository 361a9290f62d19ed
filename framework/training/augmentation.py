"""Augmentation of the minibatches of a Trainer before each step, on the device of the step.

Random numbers depend on (seed, position in the list, step) and are the same on every backend; the data are never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ...backends import Random
from ...errors import HyperparameterError
from ...kernels.formulas.augmentation import masked_features, mixed, mixed_labels
from ...kernels.formulas.random import gaussian_noise
from ..engine.step import TrainStep
from ..layers.noise import GaussianNoise
from ..settings import finite, fraction, positive
from ..streams import AUGMENT
from ..suggestions import suggests_arguments

Array = Any


class Draw:
    """Buffers and random numbers for an augmentation.

    Attributes: backend – of the step; classes – columns of the model's output; random – for `backend.map`.
    """

    def __init__(self, step: TrainStep, position: int) -> None:
        self.backend = step.backend
        self.classes = int(step.model.output_width(int(step.model.inputs or 0)))
        self.dtype = step.model.dtype
        self.random = Random(step.backend.random_state(step.seed), AUGMENT + position)
        self._first_row = 0
        self._host = [step.seed, AUGMENT + position, 0]
        self._buffers: dict[str, Array] = {}

    def begin(self, number: int, first_row: int = 0) -> None:
        """Sets the random numbers to a step, and to the first row of a micro-batch."""
        if first_row != self._first_row:
            self._first_row = first_row
            state = self.backend.random_state(self._host[0], number, first_row)
            self.random = self.random._replace(state=state)
        else:
            self.backend.set_step(self.random.state, number)
        self._host[2] = number

    def empty(self, name: str, shape: tuple[int, ...]) -> Array:
        """A float buffer with arbitrary content; the next step gets the same buffer if the shape is the same."""
        buffer = self._buffers.get(name)
        if buffer is None or tuple(buffer.shape) != shape:
            buffer = self._buffers[name] = self.backend.empty(shape, self.dtype)
        return buffer

    @cached_property
    def numbers(self) -> Array:
        """The class indices, as a vector of floats."""
        return self.backend.asarray(list(range(self.classes)), self.dtype)

    def uniform(self) -> float:
        """One number in (0, 1) for the whole minibatch, on the host; does not wait for the device."""
        from ...backends import backend

        seed, stream, step = self._host
        host = backend("numpy")
        bits = host.random_bits(1, 1, Random(host.random_state(seed, step), stream))
        return (float(bits[0, 0]) + 0.5) / 2.0**32


class Augmentation:
    """One operation on a minibatch; for a custom one, derive a class and define `apply`.

    Class attribute mixes_targets: whether targets are mixed, so that labels become distributions.
    """

    mixes_targets = False

    def apply(self, inputs: Array, targets: Array, draw: Draw) -> tuple[Array, Array]:
        """The new inputs [B, d] and targets, in buffers of `draw`, not in place; `draw` also provides random numbers."""
        raise NotImplementedError(f"{type(self).__name__} must define apply")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"


@suggests_arguments
class InputNoise(Augmentation):
    """x + e with e ~ N(0, sigma^2) for every element; equivalent to the layer GaussianNoise as first layer.

    Args: sigma – standard deviation > 0, in the units of x.
    Source: notes 002.
    """

    def __init__(self, sigma: float) -> None:
        self.sigma = positive(sigma, "sigma of InputNoise", "pass a standard deviation in the units of x")

    def apply(self, inputs: Array, targets: Array, draw: Draw) -> tuple[Array, Array]:
        """The noisy inputs."""
        out = draw.empty("x", tuple(inputs.shape))
        draw.backend.map(gaussian_noise, out, inputs, self.sigma, random=draw.random)
        return out, targets


@suggests_arguments
class FeatureMasking(Augmentation):
    """Every feature of every sample is replaced by `value` with probability p.

    Args: p – 0 <= p < 1; value – default 0, the mean of standardised data.
    Differs from: Dropout, which also divides the remaining values by 1 - p.
    Source: Vincent et al. (2008), masking noise.
    """

    def __init__(self, p: float, value: float = 0.0) -> None:
        self.p = fraction(p, "p of FeatureMasking", "pass the fraction that is masked, such as 0.1")
        self.value = finite(value, "value of FeatureMasking")

    def apply(self, inputs: Array, targets: Array, draw: Draw) -> tuple[Array, Array]:
        """The masked inputs."""
        out = draw.empty("x", tuple(inputs.shape))
        draw.backend.map(masked_features, out, inputs, self.p, self.value, random=draw.random)
        return out, targets


@suggests_arguments
class Mixup(Augmentation):
    """Mixes pairs of samples: x = l x_i + (1 - l) x_j, and the same for their targets, with l ~ Beta(alpha, alpha).

    l is drawn once per minibatch, and j = i + 1 in its random order; labels become distributions over the classes.

    Args: alpha > 0 – default 0.2; small values mix little, 1 draws l uniformly.
    Raises: (in a Trainer) HyperparameterError for a loss whose targets cannot be mixed.
    Source: Zhang et al. (2018).
    """

    mixes_targets = True

    def __init__(self, alpha: float = 0.2) -> None:
        self.alpha = positive(alpha, "alpha of Mixup", "pass such as 0.2")

    def apply(self, inputs: Array, targets: Array, draw: Draw) -> tuple[Array, Array]:
        """The mixed pairs."""
        from scipy.special import betaincinv

        rows, backend = int(inputs.shape[0]), draw.backend
        part = float(betaincinv(self.alpha, self.alpha, draw.uniform()))
        pairs = [(slice(0, rows - 1), slice(1, rows)), (slice(rows - 1, rows), slice(0, 1))]
        x = draw.empty("x", tuple(inputs.shape))
        labels = not backend.dtype_name(targets).startswith("float")
        y = draw.empty("y", (rows, draw.classes) if labels else tuple(targets.shape))
        if labels:
            targets = backend.asarray(targets, draw.dtype)
        for one, other in pairs:
            if one.start == one.stop:
                continue
            backend.map(mixed, x[one, ...], inputs[one, ...], inputs[other, ...], part)
            if labels:
                backend.map(mixed_labels, y[one, ...], targets[one], targets[other], draw.numbers, part)
            else:
                backend.map(mixed, y[one, ...], targets[one, ...], targets[other, ...], part)
        return x, y


class Augmentations:
    """A list of augmentations, bound to a step.

    Args: given – Augmentations, or GaussianNoise layers, which are treated as InputNoise; step.
    """

    def __init__(self, given: Sequence[Any], step: TrainStep) -> None:
        if not isinstance(given, Sequence):
            raise HyperparameterError(f"expected a list of augmentations; got {given!r}; write augment=[...]")
        self.step = step
        self.chain: list[tuple[Augmentation, Draw]] = []
        for position, item in enumerate(given):
            one = InputNoise(item.sigma) if isinstance(item, GaussianNoise) else item
            if not isinstance(one, Augmentation):
                raise HyperparameterError(
                    f"expected augmentations such as fs.InputNoise(0.1) or fs.Mixup(); got {item!r}; did you forget ()?"
                )
            if one.mixes_targets and not step.loss.mixes_targets:
                raise HyperparameterError(
                    f"{type(one).__name__} expected a loss whose targets can be mixed, such as SoftmaxCrossEntropy without "
                    f"label_smoothing and class_weights, BinaryCrossEntropy or MSE; got {step.loss!r}"
                )
            self.chain.append((one, Draw(step, position)))

    def require_separate_rows(self) -> None:
        """Raises HyperparameterError if rows are mixed, of which each has a sample weight."""
        mixing = next((one for one, _ in self.chain if one.mixes_targets), None)
        if mixing is not None:
            raise HyperparameterError(
                f"expected augmentations that keep rows separate, as each has a sample weight; got {mixing!r}, which mixes "
                "them; leave it out, or sample_weight"
            )

    def apply(self, inputs: Array, targets: Array, number: int, first_row: int = 0) -> tuple[Array, Array]:
        """Applies all augmentations to the minibatch of step `number`, or to a micro-batch that starts at row `first_row`."""
        if not self.chain:
            return inputs, targets
        inputs = self.step.backend.asarray(inputs, self.step.model.dtype)  # a 16-bit step stores them in another type
        for augmentation, draw in self.chain:
            draw.begin(number, first_row)
            inputs, targets = augmentation.apply(inputs, targets, draw)
        return self.step.stored(inputs), targets
