"""The conformance suite: a list of checks that every backend, including those of other packages, must pass.

    from fusedstep.backends import conformance

    print(conformance.run(MyBackend()))                               # a report


    @pytest.mark.parametrize("check", conformance.checks(), ids=str)  # or one test per check
    def test_conformance(check):
        check(my_backend)

Values are compared with plain formulas in float64, within TOLERANCES; pytest is not required.
"""

from . import arrays, dense, errors, formulas, products, random, reductions, rows, signatures, training, updates
from .comparison import close, exactly
from .suite import GROUPS, Check, ConformanceError, Report, checks, run
from .tolerances import TOLERANCES, Tolerance, tolerance

__all__ = [
    "GROUPS", "TOLERANCES", "Check", "ConformanceError", "Report", "Tolerance", "arrays", "checks", "close", "dense", "errors",
    "exactly", "formulas", "products", "random", "reductions", "rows", "run", "signatures", "tolerance", "training", "updates",
]  # fmt: skip
