"""On PYTHONPATH this changes what `extproc up` and `envoy-config` render: a fault, or somebody else's Envoy instead.

FAULTY_ENVOY names one of `faulty_envoys`, ATTACHED_ENVOY one of `attached_envoys`.
"""

from __future__ import annotations

import os
import sys

if sys.orig_argv[1:3] == ["-m", "extproc"]:  # the command, not its tests
    if os.environ.get("FAULTY_ENVOY"):
        from tests.conformance.through_envoy.faulty_envoys import VARIABLE
        from tests.conformance.through_envoy.faulty_envoys import faulty as change
    elif os.environ.get("ATTACHED_ENVOY"):
        from tests.conformance.through_envoy.attached_envoys import VARIABLE
        from tests.conformance.through_envoy.attached_envoys import attached as change
    else:
        VARIABLE = ""
    if VARIABLE:
        from extproc.proxy import bootstrap

        _render = bootstrap.render_text

        def render_text(settings: bootstrap.ProxySettings) -> str:
            bootstrap.render_text = _render  # a filter for somebody else's Envoy is one that the pair renders
            try:
                return change(_render(settings), os.environ[VARIABLE])
            finally:
                bootstrap.render_text = render_text

        bootstrap.render_text = render_text
