"""Dual numbers through the calls of a backend: products with Hessians and Jacobians."""
