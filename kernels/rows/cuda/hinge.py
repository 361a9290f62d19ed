"""The multi-class hinge loss of each row, with its subgradient.

The largest score of the other classes is found together with its column, by a reduction of its own. The barriers of that
reduction separate all reads of a row from all writes, so the gradient may overwrite the scores.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
from __future__ import annotations

from numba import cuda

from ...targets.cuda.geometry import BLOCK
from .teams import LOWEST, Signatures, i64, load, places, real, store


def multi_class_hinge(scores, labels, factor, losses, gradient, row_weights):
    part = cuda.shared.array(BLOCK, real)
    place = cuda.shared.array(BLOCK, i64)
    rows, width = scores.shape
    lane, team, lanes, teams, slot = places()
    for first in range(cuda.blockIdx.x * teams, rows, cuda.gridDim.x * teams):
        i = first + team
        best = LOWEST
        rival = i64(width)
        label = 0
        own = real(0.0)
        if i < rows:
            label = labels[i]
            own = load(scores[i, label])
            for j in range(lane, width, lanes):
                value = load(scores[i, j])
                if j != label and (value > best or rival == width or value != value):
                    best = value
                    rival = i64(j)
        part[slot] = best
        place[slot] = rival
        cuda.syncthreads()
        half = lanes >> 1
        while half > 0:
            if lane < half:
                other = slot + half
                tied = part[other] == part[slot] and place[other] < place[slot]
                if part[other] > part[slot] or tied or part[other] != part[other]:
                    part[slot] = part[other]
                    place[slot] = place[other]
            cuda.syncthreads()
            half >>= 1
        best = part[slot - lane]
        rival = place[slot - lane]
        cuda.syncthreads()
        if i < rows:
            margin = real(1.0) + best - own
            active = not margin <= real(0.0)
            if lane == 0:
                losses[i] = margin if active else real(0.0)
                losses[i] *= row_weights[i]
            for j in range(lane, width, lanes):
                derivative = factor if j == rival else (-factor if j == label else real(0.0))
                derivative *= row_weights[i]
                gradient[i, j] = store(derivative if active else real(0.0))


SIGNATURES: Signatures = {multi_class_hinge: (("matrix", "labels", "number", "sums", "matrix"), (), (places,))}
