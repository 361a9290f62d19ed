"""Models of PyTorch: the modules of each layer, and the conversion both ways."""
