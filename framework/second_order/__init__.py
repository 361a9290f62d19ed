"""Full-batch optimisation: line searches, curvature products, and the methods that use them.

`minimize` is the loop; each method has a file of its own.
"""

from .bfgs import BFGS
from .conjugate_gradient import ConjugateGradient
from .descent import SteepestDescent
from .hessian_free import HessianFree
from .lbfgs import LBFGS
from .line_search import Backtracking, BestOf, FixedStep, LineSearch, StrongWolfe
from .minimization import Minimization, minimize
from .newton import Newton
from .objective import Objective

__all__ = [
    "BFGS", "LBFGS", "Backtracking", "BestOf", "ConjugateGradient", "FixedStep", "HessianFree", "LineSearch", "Minimization",
    "Newton", "Objective", "SteepestDescent", "StrongWolfe", "minimize",
]  # fmt: skip
