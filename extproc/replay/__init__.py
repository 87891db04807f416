"""Beside all steps: requests that come from files instead of Envoy, run through the same engine."""
