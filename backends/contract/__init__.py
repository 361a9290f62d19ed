"""The contract of a backend, one family of operations a file; backends/base.py puts them together.

Each runs on any NumPy-like array library; what a subclass does better it overrides.
"""
