"""From a match to the narrowest exclusion: one rule, one variable, one path, as SecLang."""

from __future__ import annotations

import re
from dataclasses import dataclass

from extproc.engine.plan import Plan
from extproc.engine.variables import CHANGING
from extproc.replay.explain_watch import Firing

FIRST_ID = 10_000
"""Where the ids of proposed exclusions begin; ids below 100,000 are for local rules (manual, *id*)."""

_PLAIN_PATH = re.compile(rb"[A-Za-z0-9/._~@:+,;=&()-]+")
_PLAIN_KEY = re.compile(rb"[A-Za-z0-9_$@.\[\]-]+")
_PLAIN_XPATH = re.compile(rb"[A-Za-z0-9/@*_.-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """A variable that a rule matched: `ARGS:q`, or `REQUEST_URI` (`key` None)."""

    collection: str
    key: bytes | None


@dataclass(frozen=True, slots=True)
class Exclusion:
    """`place` None: the whole rule is switched off on the path, because nothing narrower can be said."""

    id: int
    rule_id: int
    path: bytes
    place: Place | None

    @property
    def seclang(self) -> bytes:
        """One line of SecLang, to stand before the rule that it is about (phase 1 runs in file order)."""
        if self.place is None:
            control = b"ruleRemoveById=%d" % self.rule_id
        else:
            control = b"ruleRemoveTargetById=%d;%s" % (self.rule_id, _target(self.place))
        return b'SecRule REQUEST_FILENAME "%s" "id:%d,phase:1,pass,nolog,t:none,ctl:%s"' % (
            _path_operator(self.path),
            self.id,
            control,
        )


def places_of(firing: Firing) -> tuple[Place, ...]:
    """The variables to exclude so that the rule matches no more; () if it looks at no variable of the request.

    Of a chain those of the last link that names fields (`ARGS:q`), else of the last that looks at the request.
    """
    by_link: dict[int, list[Place]] = {}
    for applied in firing.applied:
        if applied.collection and applied.collection not in CHANGING:
            by_link.setdefault(id(applied.link), []).append(Place(applied.collection, applied.key))
    candidates = list(by_link.values())
    keyed = [places for places in candidates if any(place.key is not None for place in places)]
    chosen = (keyed or candidates or [[]])[-1]
    # The same field twice (`a=1&a=2`) is one place; keys are compared without case.
    found: dict[tuple[str, bytes | None], Place] = {}
    for place in chosen:
        found.setdefault((place.collection, place.key.lower() if place.key is not None else None), place)
    return tuple(found.values())


def is_evaluation(firing: Firing) -> bool:
    """Does the rule only compare what others added up (TX)? What they found is to be excluded, not the sum."""
    targets = [target for link in (firing.rule, *firing.rule.chain) for target in link.targets]
    return bool(targets) and all(target.collection == "TX" for target in targets)


def free_ids(plan: Plan, count: int) -> list[int]:
    """Ids for exclusions that no rule of the set has."""
    found: list[int] = []
    number = FIRST_ID
    while len(found) < count:
        if number not in plan.ruleset.by_id:
            found.append(number)
        number += 1
    return found


def _target(place: Place) -> bytes:
    name = place.collection.encode("ascii")
    if place.key is None:
        return name
    if (_PLAIN_XPATH if place.collection == "XML" else _PLAIN_KEY).fullmatch(place.key):
        return b"%s:%s" % (name, place.key)
    # Quotes, commas and bars end a selector, wherever it stands; in an expression each can be written as a number.
    return b"%s:/^%s$/" % (name, _expression(place.key))


def _path_operator(path: bytes) -> bytes:
    if _PLAIN_PATH.fullmatch(path):
        return b"@streq " + path
    return b"@rx ^%s\\z" % _expression(path)


def _expression(text: bytes) -> bytes:
    return b"".join(
        bytes([byte]) if byte in b"/-_" or bytes([byte]).isalnum() else b"\\x%02x" % byte for byte in text
    ).replace(b"/", b"\\x2f")
