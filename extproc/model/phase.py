"""Phases, as ModSecurity numbers them (reference manual, *Processing Phases*)."""

from __future__ import annotations

from enum import IntEnum


class Phase(IntEnum):
    """Where in an exchange a rule runs."""

    REQUEST_HEADERS = 1
    REQUEST_BODY = 2
    RESPONSE_HEADERS = 3
    RESPONSE_BODY = 4
    LOGGING = 5
