"""The commands; the one place that wires the parts together."""
