"""A second opinion: another transaction over the same request, in the same pass, that decides nothing.

Two ask for one: shadow rules (another rule set), and expired exclusions (the same rules without them). What was parsed
is shared; the scores, the variables that rules set and the persistent records are its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from extproc.engine.transaction import Transaction, Work
from extproc.model.deadline import Deadline
from extproc.model.message import Headers, ResponseHead
from extproc.model.phase import Phase
from extproc.model.verdict import Outcome, Shadow

Ask: TypeAlias = "Callable[[SecondOpinion, Deadline], Work]"
"""A question about one message: a call of one of the methods below."""


class SecondOpinion:
    """Ask it about each message once the first transaction is done with it; `compare` before that one reads a body.

    One that only wants to know what removals hid (`hidden`, a mask of rules) is `put off` until they hid something:
    then it catches up.
    """

    __slots__ = ("_is_whole", "_owed", "_reading", "hidden", "is_given_up", "tx")

    def __init__(self, tx: Transaction, hidden: int = 0) -> None:
        """`tx`: in monitor mode. `is_given_up` is set when no time was left for it, or it failed."""
        self.tx = tx
        self.hidden = hidden
        self.is_given_up = False
        self._owed: list[Ask] = []
        self._reading: tuple[object, ...] = ()
        self._is_whole = False

    def answer(self, first: Transaction, ask: Ask, deadline: Deadline) -> Work:
        """Answer, or put the question off."""
        self._owed.append(ask)
        if self.hidden and not first.hidden & self.hidden:
            return
        owed, self._owed = self._owed, []
        self.hidden = 0
        for question in owed:
            yield from question(self, deadline)

    @property
    def would(self) -> Outcome:
        """Pending: it did not see the whole request."""
        if self.tx.would is not None:
            return Outcome.BLOCK
        return Outcome.ALLOW if self._is_whole and not self.is_given_up else Outcome.PENDING

    def shadow(self) -> Shadow:
        """What it says, for event and metadata."""
        tx = self.tx
        return Shadow(
            would=self.would,
            rule_id=tx.would.rule_id if tx.would is not None else 0,
            rule_ids=tuple(dict.fromkeys(match.rule_id for match in tx.matches)),
            score=tx.score,
            ruleset=tx.plan.ruleset.hash,
        )

    def compare(self, first: Transaction) -> None:
        """Before the first one reads a body: how it will."""
        self._reading = first.reading

    def request_headers(self, first: Transaction, is_last: bool, deadline: Deadline) -> Work:
        """Phase 1, and phase 2 where no body comes. This and the others: after the first one had its turn."""
        self.tx.share(first)
        yield from self.tx.run(Phase.REQUEST_HEADERS, deadline)
        if is_last:
            yield from self.request_body(first, b"", deadline)

    def request_body(self, first: Transaction, body: bytes, deadline: Deadline, trailers: Headers = ()) -> Work:
        """Phase 2, over what the first one parsed, or parsed anew where the rule sets read bodies differently."""
        if self._reading == self.tx.reading:
            self.tx.adopt(first)
        else:
            yield from self.tx.request_body(body, deadline)
        if trailers:
            self.tx.request_trailers(trailers)
            yield from self.tx.run(Phase.REQUEST_HEADERS, deadline)
        yield from self.tx.run(Phase.REQUEST_BODY, deadline)
        self._is_whole = True

    def response_headers(self, head: ResponseHead, deadline: Deadline) -> Work:
        """Phase 3, and phase 4 where no body comes."""
        self.tx.response_head(head)
        yield from self.tx.run(Phase.RESPONSE_HEADERS, deadline)
        if head.is_last:
            yield from self.tx.run(Phase.RESPONSE_BODY, deadline)

    def response_body(self, first: Transaction, deadline: Deadline) -> Work:
        """Phase 4."""
        self.tx.response_headers, self.tx.response_body = first.response_headers, first.response_body
        yield from self.tx.run(Phase.RESPONSE_BODY, deadline)
