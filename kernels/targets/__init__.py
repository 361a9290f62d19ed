"""Code generation from traced formulas: one module per target, independent of particular formulas."""
