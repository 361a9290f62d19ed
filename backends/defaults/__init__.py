"""What the contract does on any array library where that takes more than a few lines; contract.py calls it."""
