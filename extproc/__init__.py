"""extproc: the web application firewall that Envoy asks.

wire → transaction → transform → prefilter → rules → decision → response → events
"""

__version__ = "0.1.0"
