"""Rows that a training reads: in memory, or left in their file, and the order and the threads in which they come to a step."""
