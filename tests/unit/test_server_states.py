"""The table of legal orders, and which upgrades are let through."""

from __future__ import annotations

import itertools

import pytest

from extproc.model.errors import WireError
from extproc.model.message import RequestHead
from extproc.server.states import TRANSITIONS, Event, State, follow
from extproc.server.upgrade import Upgrade, judge


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_what_the_table_does_not_list_is_refused(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert follow(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(WireError, match="out-of-order"):
            follow(state, event)


def test_nothing_follows_the_end_and_headers_come_once() -> None:
    assert not [state for state, _ in TRANSITIONS if state is State.DONE]
    heads = [state for state, event in TRANSITIONS if event in (Event.HEAD, Event.LAST_HEAD)]
    assert set(heads) == {State.START}


WHOLE = ((b"connection", b"keep-alive, Upgrade"), (b"upgrade", b"websocket"))
SPLIT = ((b"connection", b"keep-alive"), (b"connection", b"upgrade"), (b"upgrade", b"websocket"))


@pytest.mark.parametrize(
    ("path", "headers", "method", "is_last", "result"),
    [
        (b"/ws", WHOLE, b"GET", False, Upgrade.GRANTED),
        (b"/ws/chat?x=/../", WHOLE, b"GET", False, Upgrade.GRANTED),
        (b"/ws", SPLIT, b"GET", False, Upgrade.GRANTED),
        (b"/live/", WHOLE, b"GET", False, Upgrade.GRANTED),
        (b"/live/x", WHOLE, b"GET", False, Upgrade.GRANTED),
        (b"/live", WHOLE, b"GET", False, Upgrade.REFUSED),
        (b"/wsx", WHOLE, b"GET", False, Upgrade.REFUSED),
        (b"/other", WHOLE, b"GET", False, Upgrade.REFUSED),
        (b"/ws/../admin", WHOLE, b"GET", False, Upgrade.REFUSED),
        (b"/ws/%2E%2e%2Fadmin", WHOLE, b"GET", False, Upgrade.REFUSED),
        (b"/ws\\x", WHOLE, b"GET", False, Upgrade.REFUSED),
        (b"/ws/a;b", WHOLE, b"GET", False, Upgrade.REFUSED),
        (b"/ws", WHOLE, b"POST", False, Upgrade.REFUSED),
        (b"/ws", WHOLE, b"GET", True, Upgrade.REFUSED),
        (b"/ws", WHOLE[1:], b"GET", False, Upgrade.REFUSED),
        (b"/ws", ((b"connection", b"upgraded"), WHOLE[1]), b"GET", False, Upgrade.REFUSED),
        (b"/ws", (), b"CONNECT", False, Upgrade.REFUSED),
        (b"/ws", WHOLE[:1], b"GET", False, Upgrade.NONE),
        (b"/ws", (), b"POST", False, Upgrade.NONE),
        (b"/ws", ((b"upgrade-insecure-requests", b"1"),), b"GET", True, Upgrade.NONE),
    ],
)
def test_upgrades(
    path: bytes, headers: tuple[tuple[bytes, bytes], ...], method: bytes, is_last: bool, result: Upgrade
) -> None:
    head = RequestHead(method, path, b"a", headers, is_last=is_last)
    assert judge(head, (b"/ws", b"/live/")) is result
    if result is Upgrade.GRANTED:
        assert judge(head, ()) is Upgrade.REFUSED
