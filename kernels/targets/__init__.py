"""Turning traced formulas into code: one module per target, nothing about any particular formula."""
