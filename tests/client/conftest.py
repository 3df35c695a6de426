"""Client tests see their scene by name; children spawned by the client need the path too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
