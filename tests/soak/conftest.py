"""The pair of the end-to-end tests, or a skip that is seen."""

from tests.e2e.conftest import app, envoy_binary, start_pair, tools

__all__ = ["app", "envoy_binary", "start_pair", "tools"]
