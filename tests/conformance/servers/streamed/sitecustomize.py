"""On PYTHONPATH this makes `extproc serve` take bodies by the chunk, a mode that its command line does not offer.

Envoy would forward each chunk before the last was seen, so it is no way to guard an app; the conversation has to hold
in it all the same (G18).
"""

from __future__ import annotations

import dataclasses

from extproc.cli import serve
from extproc.config import Config
from extproc.server.settings import ServerSettings

_settings = serve.server_settings


def settings(config: Config) -> ServerSettings:
    return dataclasses.replace(_settings(config), request_body_modes=frozenset({"STREAMED"}))


serve.server_settings = settings
