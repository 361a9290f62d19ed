"""Forward-mode differentiation: a backend on dual numbers, for products with Hessians and Jacobians."""
