"""fusedstep: train multi-layer perceptrons as fast as the array library underneath allows.

    import fusedstep as fs

    model = fs.mlp([784, 512, 10])
    step = fs.TrainStep(model, fs.SoftmaxCrossEntropy(), fs.Adam(1e-3), seed=0)
    loss = step(x, y)

The public names are listed in __init__.pyi and loaded when they are first used, so importing the package is fast.
"""

import copyreg as _copyreg
import gc as _gc
import sys as _sys
from importlib import import_module as _import_module

import lazy_loader

from fusedstep.moved import install as _install

_install()
__version__ = "0.2.0"

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

_kind = type(_sys.modules[__name__])
if _kind is not type(_sys):
    # lazy_loader has replaced the type of this module. Functions that use it go to workers of joblib and dask by value, and the
    # module by its name, as others do.
    _copyreg.pickle(_kind, lambda module: (_import_module, (module.__name__,)))


def __getattr__(name: str) -> object:
    """A public name, loaded now."""
    if name in __all__ or name.startswith("_"):
        # What is made now stays, so looking through it for garbage again and again, a tenth of the time, finds nothing.
        collects = _gc.isenabled()
        _gc.disable()
        try:
            return _load(name)
        finally:
            if collects:
                _gc.enable()
    from fusedstep.synonyms import name_of

    advice = name_of(name)
    if advice:
        from fusedstep.errors import UnknownAttribute

        raise UnknownAttribute(f"expected a name of fusedstep; got fs.{name}, which it does not have; {advice}")
    # With these two, Python adds what the name may have been meant to be.
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=_sys.modules[__name__])
