"""Models made of models: bagging."""
