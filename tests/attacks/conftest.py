"""Modules beside the tests, of which scripts are made too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
