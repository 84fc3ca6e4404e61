"""The scripts in bench/ import each other by their plain names, as they do when they run."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
