"""Sample weights: one number >= 0 for each row, by which its loss and its gradient are multiplied; also balanced classes.

They are checked and scaled here, on the host; a tape carries them to the kernels of the losses (see Loss.weighted_loss).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends import Backend
from ..backends.arrays import on_host
from ..errors import DtypeError, MixedBackends, SampleWeightError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

NAME = "sample_weight"


def checked_weights(given: Any, rows: int, backend: Backend) -> Numbers:
    """Weights [rows] in float64 on the host.

    Args: given – [rows] or [rows, 1], an array of the backend or of the host, or a RowSource.
    Raises: ShapeError; DtypeError; SampleWeightError, which names the first row whose weight is negative, NaN or infinite.
    """
    try:
        own = backend.is_array(given) and not isinstance(given, np.ndarray)
        array = given.whole() if hasattr(given, "row_shape") else backend.to_numpy(given) if own else on_host(given)
    except (DtypeError, MixedBackends) as error:
        raise type(error)(f"{NAME}: {error}") from error
    if array.shape not in ((rows,), (rows, 1)):
        raise ShapeError(f"{NAME}: expected one weight for each of the {rows} rows of x; got shape {tuple(array.shape)}")
    weights = array.reshape(-1).astype(np.float64)
    valid = np.isfinite(weights) & (weights >= 0.0)
    if not valid.all():
        row = int(np.argmin(valid))
        raise SampleWeightError(
            f"{NAME}: expected finite weights >= 0; got {weights[row]:g} in row {row + 1} (counted from 1); give rows that are "
            "to be left out the weight 0"
        )
    return weights


def scaled(weights: Numbers, mean: bool, where: Callable[[int], str]) -> Numbers:
    """The weights of whole minibatches [..., B] as kernels take them: for a mean loss w B / sum w, whose mean is 1.

    The loss of a minibatch, which is divided by B, is then sum w l / sum w.

    Args: weights – checked; mean – whether the loss is a mean over the rows; where – says which rows the k-th minibatch has.
    Raises: SampleWeightError if all weights of a minibatch are 0.
    """
    largest = weights.max(axis=-1, keepdims=True, initial=0.0)
    if not largest.all():
        raise SampleWeightError(
            f"{NAME}: expected a weight > 0 in every minibatch; got only 0 in {where(int(np.argmin(largest)))}; drop the rows "
            "of weight 0 (as they count as left out), or use larger minibatches"
        )
    if not mean:
        return weights
    relative = weights / largest  # first, so that neither their sum nor a quotient overflows
    result: Numbers = relative * (weights.shape[-1] / relative.sum(axis=-1, keepdims=True))
    return result


class RowWeights:
    """The sample weights of all rows of a feed.

    Attributes: raw – float64 [N], as given; mean – whether the loss is a mean over rows; of_all – raw, scaled over all rows.
    """

    def __init__(self, raw: Numbers, mean: bool) -> None:
        self.raw = raw
        self.mean = mean
        self.of_all = scaled(raw, mean, lambda _: f"all {len(raw)} rows")

    def of_minibatch(self, rows: Any) -> Numbers:
        """Scaled weights of a minibatch; rows – their numbers, or a slice."""
        return scaled(self.raw[rows], self.mean, partial(_in_words, np.arange(len(self.raw))[None, rows]))

    def of_epoch(self, order: NDArray[np.int64] | None, size: int) -> Numbers:
        """All weights in the order in which rows are stored, scaled by minibatches of `size` rows of an order."""
        found = np.empty_like(self.raw)
        numbers = np.arange(len(found)) if order is None else order
        whole = len(found) // size * size
        for minibatches in (numbers[:whole].reshape(-1, size), numbers[whole:].reshape(1, -1)):
            if minibatches.size:
                found[minibatches] = scaled(self.raw[minibatches], self.mean, partial(_in_words, minibatches))
        return found


def _in_words(minibatches: NDArray[np.int64], k: int) -> str:
    """The rows of the k-th minibatch."""
    rows = minibatches[k]
    few = ", ".join(map(str, rows[:5] + 1)) + (", …" if len(rows) > 5 else "")
    return f"a minibatch of the {len(rows)} rows {few} (counted from 1)"


def balanced(counts: NDArray[Any]) -> tuple[float, ...]:
    """Weights n / (k n_label) of the classes, from how often each label occurs; 1 for those that do not.

    n – the sum of all counts; k – number of classes that occur. Source: King and Zeng (2001), as in scikit-learn.
    """
    total, occurring = float(counts.sum()), int(np.count_nonzero(counts))
    return tuple(total / (occurring * float(count)) if count else 1.0 for count in counts)
