"""The preset "tabular": the network for a table, and how it is trained, where the user does not say.

The estimators and `fusedstep train` take what they are not given from here, by the number of rows and what the columns hold.
Nothing is trained here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Sequence as Widths
from dataclasses import dataclass
from math import log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine.initializers import Initializer
from ..engine.model import Sequential, mlp
from ..layers import Layer
from ..layers.embedding import ColumnEmbeddings
from ..layers.number_embedding import PeriodicEmbedding
from ..sources.blocks import row_blocks
from ..tables.column_statistics import Scaling
from ..tables.table import Task

SMALLEST_VALIDATION = 10
"""Rows; a smaller validation part is not informative, so its rows are used for training, for a fixed number of epochs."""
VALIDATION = 0.2
"""Fraction of the rows that decide which epoch is kept."""
MOST_EMBEDDED = 100
"""Largest number of columns of numbers that are embedded; more would make the first matrix the largest by far."""
ROWS_FOR_EACH = 16
"""Training rows for each column that is embedded; with fewer the network learns them by heart."""
SMALL_REGRESSION = 1_000
"""Rows."""
ROWS_TO_PASS = 1 << 22
"""Training rows over all epochs; more rows mean fewer epochs, but at least FEWEST_EPOCHS."""
FEWEST_EPOCHS = 8


@dataclass(frozen=True)
class Preset:
    """A network and its training.

    Args: batch_size – rows, None for all; epochs – at most; scaling – of numbers, see TableEncoder; hidden – widths of the
        hidden layers; activation; number_embedding – whether numbers are embedded by PeriodicEmbedding; dropout – fraction of
        the hidden units to drop; label_smoothing – eps: the target is 1 - eps + eps / K for the label and eps / K for the other
        classes; optimizer – class name, with lr, beta2 and weight_decay, which is decoupled; schedule – of the learning rate,
        as text; validation – fraction of the rows by whose loss the epoch that is kept is chosen; 0 for none, where it is the
        last; patience – epochs without a better one before training ends, None for no limit.
    Source: Holzmüller, Grinsztajn and Steinwart (2024), "Better by Default", table 1 and appendix A. Of theirs are the three
        hidden layers of 256, dropout 0.15, label smoothing 0.1, weight decay 0.02, beta2 0.95, the schedule, embeddings of
        numbers, and robust scaling with smooth clipping. They have mish, 256 epochs, minibatches of 256, another
        parametrisation, and a learned scale of each input.
    """

    batch_size: int | None
    epochs: int
    scaling: Scaling
    hidden: tuple[int, ...] = (256, 256, 256)
    activation: str = "relu"
    number_embedding: bool = True
    dropout: float = 0.15
    label_smoothing: float = 0.1
    optimizer: str = "AdamW"
    lr: float = 3e-3
    beta2: float = 0.95
    weight_decay: float = 0.02
    schedule: str = "coslog"
    validation: float = VALIDATION
    patience: int | None = None


def tabular(rows: int, task: Task, full_batch: bool = False) -> Preset:
    """The preset for a number of rows.

    Where all rows are one batch, which is what fewer than 50 rows get too, nothing depends on which row is where: there are
    neither dropout nor validation rows, so that a row of sample weight 2 is the same as two rows.

    A regression on fewer than 1,000 rows, in which linear models are hard to beat, gets a small network, strong regularisation
    and a constant rate.

    Args: rows – those for training and for validation together; task; full_batch – whether all rows are to be one batch.
    """
    if full_batch or rows * VALIDATION < SMALLEST_VALIDATION:
        return Preset(batch_size=None, epochs=256, scaling="standard", dropout=0.0, validation=0.0)
    scaling: Scaling = "robust" if task == "classification" else "standard"  # a target may be linear in an outlier
    if task == "regression" and rows < SMALL_REGRESSION:
        return Preset(
            batch_size=32, epochs=300, scaling=scaling, hidden=(32,), activation="tanh", number_embedding=False, dropout=0.4,
            lr=1e-3, beta2=0.999, weight_decay=0.1, schedule="constant", patience=30,
        )  # fmt: skip
    size = 512 if rows >= 100_000 else 1 << min(8, max(5, round(log2(rows / 20))))
    return Preset(size, min(64, max(FEWEST_EPOCHS, ROWS_TO_PASS // rows)), scaling)


def columns_to_embed(x: NDArray[Any], coded: Collection[int] = (), limited: bool = True) -> tuple[int, ...]:
    """The columns of encoded training rows that a network by the preset embeds: numbers of more than two values.

    Args: x – [N, d], of rows that are trained on; coded – the columns that hold codes of categories; limited – whether none is
        embedded where there are more than MOST_EMBEDDED, or fewer than ROWS_FOR_EACH rows for each.
    Returns: their numbers.
    """
    low, high = x.min(axis=0), x.max(axis=0)
    between = np.zeros(x.shape[1], dtype=bool)
    for block in row_blocks(*x.shape):
        between |= ((x[block] != low) & (x[block] != high)).any(axis=0)
    found = tuple(column for column in np.flatnonzero(between).tolist() if column not in coded)
    return () if limited and len(found) > min(MOST_EMBEDDED, len(x) // ROWS_FOR_EACH) else found


def network(
    widths: Widths[int],
    activation: str,
    dropout: float,
    categories: Mapping[int, int] | None = None,
    embedded: Widths[int] = (),
    weight_init: str | float | Initializer | None = None,
    n_ensemble: int = 1,
) -> Sequential:
    """`fs.mlp`, with a PeriodicEmbedding of some columns of numbers behind the ColumnEmbeddings of codes.

    Args: embedded – columns of the input, none of those in categories; others – as of fs.mlp.
    """
    if not embedded:
        return mlp(widths, activation, dropout, weight_init=weight_init, categories=categories, n_ensemble=n_ensemble)
    first: list[Layer] = []
    inputs, *others = widths
    copied = [column for column in range(inputs) if column not in (categories or {})]
    if categories:
        first.append(ColumnEmbeddings(inputs, categories))
        inputs = first[0].output_width(inputs)
    first.append(PeriodicEmbedding(inputs, columns=[copied.index(column) for column in embedded]))
    widths = [first[-1].output_width(inputs), *others]
    body = mlp(widths, activation, dropout, weight_init=weight_init, n_ensemble=n_ensemble)
    return Sequential(*first, *body.layers)
