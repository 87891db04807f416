"""The order of an exchange as a table: which message may follow which, on each side.

Only what Envoy 1.40 was seen to send is legal; everything else ends the stream with an error. Request and
response side know nothing of each other, as they interleave when the app answers early, but the request
cannot begin once the response did (a local reply of Envoy's comes alone).
"""

from __future__ import annotations

from enum import Enum, auto
from types import MappingProxyType

from extproc.model.errors import WireError


class State(Enum):
    """One side of the exchange."""

    START = auto()  # nothing came yet
    OPEN = auto()  # headers came; body, trailers or nothing at all may follow
    RELEASED = auto()  # the rest passes unseen (upgrade, stream); Envoy may send some of it all the same
    DONE = auto()  # the last message came


class Event(Enum):
    """A message, and whether `end_of_stream` is set on it."""

    HEAD = auto()
    LAST_HEAD = auto()
    BODY = auto()
    LAST_BODY = auto()
    TRAILERS = auto()


TRANSITIONS = MappingProxyType(
    {
        (State.START, Event.HEAD): State.OPEN,
        (State.START, Event.LAST_HEAD): State.DONE,
        (State.OPEN, Event.BODY): State.OPEN,
        (State.OPEN, Event.LAST_BODY): State.DONE,
        (State.OPEN, Event.TRAILERS): State.DONE,
        (State.RELEASED, Event.BODY): State.OPEN,
        (State.RELEASED, Event.LAST_BODY): State.DONE,
        (State.RELEASED, Event.TRAILERS): State.DONE,
    }
)


def follow(state: State, event: Event) -> State:
    """The state after `event`. Raises WireError(`out-of-order`) when the table has none."""
    after = TRANSITIONS.get((state, event))
    if after is None:
        raise WireError("out-of-order")
    return after
