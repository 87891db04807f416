"""extproc: the web application firewall that Envoy asks.

wire → transaction → transform → prefilter → rules → decision → response → events
"""

from pathlib import Path

from extproc import compiled

__version__ = "0.1.0"

compiled.settle(Path(__file__).parent)
