"""Collections a rule can write: TX, and the persistent ones (IP, GLOBAL, SESSION, USER, RESOURCE)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from extproc.actions.setvar import Assignment, parse_number

PERSISTENT = frozenset({"IP", "GLOBAL", "SESSION", "USER", "RESOURCE"})

MAX_RECORDS = 10_000
"""Persistent records a worker keeps; the one not used for longest goes first."""

MAX_VARIABLES = 64
"""Variables in one persistent record; more are not stored."""


def assign(variables: dict[bytes, bytes], key: bytes, assignment: Assignment, value: bytes) -> None:
    """setvar on a mapping of lower-case keys. Arithmetic is integral, as in ModSecurity 3."""
    if assignment is Assignment.SET:
        variables[key] = value
    elif assignment is Assignment.ADD:
        variables[key] = b"%d" % (parse_number(variables.get(key, b"0")) + parse_number(value))
    elif assignment is Assignment.SUBTRACT:
        variables[key] = b"%d" % (parse_number(variables.get(key, b"0")) - parse_number(value))
    else:
        variables.pop(key, None)


class Record:
    """One persistent record: variables, and when each is gone (seconds of the store's clock)."""

    __slots__ = ("expiry", "variables")

    def __init__(self) -> None:
        self.variables: dict[bytes, bytes] = {}
        self.expiry: dict[bytes, float] = {}

    def live(self, now: float) -> dict[bytes, bytes]:
        """The variables that have not expired."""
        for key in [key for key, end in self.expiry.items() if end <= now]:
            self.variables.pop(key, None)
            del self.expiry[key]
        return self.variables


class PersistentStore:
    """initcol's records: in memory, per worker, bounded, gone with the worker.

    Counters across workers or restarts belong to a rate limiter; this holds what rules of one
    worker remember.
    """

    def __init__(self, clock: Callable[[], float], timeout_seconds: int, max_records: int = MAX_RECORDS) -> None:
        self._clock = clock
        self._timeout = timeout_seconds
        self._max_records = max_records
        self._records: OrderedDict[tuple[str, bytes], tuple[float, Record]] = OrderedDict()

    def record(self, collection: str, key: bytes) -> Record:
        """The record, made new if there is none or it was idle for longer than the timeout."""
        now = self._clock()
        last_use, record = self._records.pop((collection, key), (now, Record()))
        if now - last_use > self._timeout:
            record = Record()
        self._records[(collection, key)] = (now, record)
        while len(self._records) > self._max_records:
            self._records.popitem(last=False)
        return record

    def now(self) -> float:
        """The store's clock, seconds."""
        return self._clock()

    def __len__(self) -> int:
        return len(self._records)
