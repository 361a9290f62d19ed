"""What carries out a step: the contract of an executor, and the one that makes one call after the other.

An executor runs the chain and the loss that it is given on tapes that it is given; it knows no layer. Those of one backend are
in its folder.
"""
