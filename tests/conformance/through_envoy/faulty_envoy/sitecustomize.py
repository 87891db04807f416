"""On PYTHONPATH this gives Envoy the fault that FAULTY_ENVOY names, in what `extproc up` and `envoy-config` render."""

from __future__ import annotations

import os
import sys

if sys.orig_argv[1:3] == ["-m", "extproc"] and os.environ.get("FAULTY_ENVOY"):  # the command, not its tests
    from extproc.proxy import bootstrap
    from tests.conformance.through_envoy.faulty_envoys import VARIABLE, faulty

    _render = bootstrap.render_text

    def render_text(settings: bootstrap.ProxySettings) -> str:
        return faulty(_render(settings), os.environ[VARIABLE])

    bootstrap.render_text = render_text
