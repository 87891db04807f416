"""Makes this folder's own modules (`manifests`, `pod_images`, `pod_network`, `pod_runner`) importable by its tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
