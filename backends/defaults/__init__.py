"""Longer default implementations of the contract for any array library; called by contract.py."""
