"""What is computed per element or per row, written once and compiled for every target.

Nothing in here knows about backends, layers or training.
"""
