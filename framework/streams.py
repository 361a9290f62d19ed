"""Numbers of the random streams: what keeps initial weights, masks and shuffles independent of each other.

Together with seed, step, row and column they are the counter of Philox.
"""

INITIAL = 0x1000_0000
"""Plus the position of the parameter in the model."""
LAYER = 0x2000_0000
"""Plus the position among the random layers, in the order of the forward pass."""
SHUFFLE = 0x3000_0000
"""The order of the rows, or of their blocks, in an epoch; the epoch is the step. From the next number on, the order of the
rows in each window of blocks."""
CHECK = 0x4000_0000
"""Directions and samples of the numerical checks."""
DIRECTION = 0x5000_0000
"""Random directions of a loss surface, plus the position of the parameter in the model. The direction is the step."""
ROUNDING = 0x6000_0000
"""Optimiser states that are rounded to 16 bits at random."""
AUGMENT = 0x7000_0000
"""Plus the position among the augmentations of the trainer."""
