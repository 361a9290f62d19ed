"""Executors run steps: their contract, and the executor that makes one call after the other.

An executor runs the given layers and loss on the given tapes, independent of the kind of layers. Executors of a backend are in
its folder.
"""
