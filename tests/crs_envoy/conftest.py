"""Envoy for these tests, or a skip that is seen."""

from tests.e2e.conftest import envoy_binary

__all__ = ["envoy_binary"]
