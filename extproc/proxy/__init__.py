"""Beside all steps: Envoy's configuration, rendered from one place."""
