"""Runs the suite of communicators in all processes. Arguments: name of the communicator, name of the backend."""

import sys

from fusedstep.backends.communicators import communicator
from fusedstep.backends.conformance.communicators import require_conformance

done = require_conformance(*sys.argv[1:])
if communicator(sys.argv[1]).first:
    print(f"{done} checks passed")
