"""Options of the conformance suite, and its closing table.

    pytest tests/conformance --target HOST:PORT|unix:PATH [--control COMMAND] [--attack TEXT] [--upgrade-path PATH] ...

It knows nothing of the server under test but its address; what needs more than the wire (a path that makes the
engine slow or faulty, a drain) comes from an option or from `--control`, and without it the case reads
`not applicable`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from case_table import Table  # beside this file


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--target", required=False, help="server under test: HOST:PORT or unix:PATH")
    group.addoption("--control", help="program that starts, stops and reloads servers for the suite (control.py)")
    group.addoption("--attack", default="1' OR 1=1--", help="text that the server must block as an argument")
    group.addoption("--body-mode", default="BUFFERED", help="request body mode that the server expects")
    group.addoption("--body-limit", type=int, default=1_048_576, help="largest body that Envoy sends, bytes")
    group.addoption("--upgrade-path", help="path on which the server lets upgrades through")
    group.addoption("--fault-path", help="path on which the engine raises")
    group.addoption("--nothing-path", help="path on which the engine gives no verdict")
    group.addoption("--slow-path", help="path on which the engine works longer than its budget")
    group.addoption("--open-streams", type=int, help="how many streams to hold open at a time (10000)")
    group.addoption("--max-streams", type=int, help="how many open streams the server takes, if they are few")
    group.addoption("--streams-in-a-row", type=int, help="how many streams to open one after the other (100000)")
    group.addoption("--ping-interval", type=float, default=1.0, help="seconds between the PINGs of G36")
    group.addoption("--reflection", action="store_true", help="the server was started with reflection")


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "target", None) or getattr(config.option, "control", None):
        config.pluginmanager.register(Table("ext_proc conformance"), "conformance-table")
