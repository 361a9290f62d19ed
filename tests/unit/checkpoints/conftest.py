"""Makes the small trainings importable."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
