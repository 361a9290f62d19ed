"""fusedstep: train multi-layer perceptrons at the speed limit of the array library underneath.

    import fusedstep as fs

    model = fs.mlp([784, 512, 10])
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), seed=0)
    loss = step(x, y)

The public names are listed in __init__.pyi and loaded when they are first used, so that importing the package stays quick.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
