"""The modules beside the tests are importable by name, and the generator of texts of the property tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "property"))
