"""The plan of a rule set: which rules run when, against what, and which never can.

- Rules whose operator is pure and whose targets cannot change within a phase are *value rules*: they are
  matched value by value (see `matching`). All others are *direct rules*: counts, numbers in TX, macros,
  SecAction.
- A *gate* is a rule that only skips, on a number in TX (`TX:DETECTION_PARANOIA_LEVEL "@lt 2"`). Once its
  variable is settled the rules behind it are known, and neither gate nor skipped rules cost anything. A
  phase is cut into segments so that no gate's variable is set before the gate within its segment.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from extproc.actions.control import Control
from extproc.detection.contract import Detector, Place
from extproc.engine.chains import chain_memo_of
from extproc.engine.guard import Guard, all_of, guard_of, guard_of_chain, reads_what_chains_leave
from extproc.engine.keymasks import masks_of
from extproc.engine.matching import (
    MEMO_BYTES,
    MEMO_CLASSES_VALUES,
    Candidates,
    Fired,
    Test,
    ValueClass,
    is_detection,
    rule_test,
)
from extproc.engine.ruleset import Rule, Ruleset, Target
from extproc.engine.shapes import Shapes
from extproc.engine.txblock import find_blocks
from extproc.engine.variables import IMMUTABLE, NEVER_REMEMBERED
from extproc.model.deadline import Deadline
from extproc.model.phase import Phase
from extproc.prefilter.candidates import CLAUSES_LIMIT, Prefilter

MAX_BOUNDARIES = 4
"""Segments a phase is cut into at most, less one; a rule set that wants more runs its gates one by one."""

MAX_VARIANTS = 16
"""Resolved gate settings kept per segment; more run the segment unresolved."""

SEEN_ONCE = 16_384
"""Hashes of values that came once; more start anew."""

MAX_KEYS = 4096
"""Remembered keys of a collection; more start anew."""

DETECTION_SCORE = b"detection_score"
"""TX key that the engine itself sets: the strongest finding of a detector so far."""

_GATE_OPERATORS = frozenset({"eq", "ge", "gt", "le", "lt"})


def is_value_rule(rule: Rule) -> bool:
    """May the rule's first link be matched value by value, ahead of rule order?"""
    return rule.operator is not None and all(
        target.collection in IMMUTABLE and not target.is_count for target in rule.targets
    )


def gate_key(rule: Rule) -> bytes | None:
    """The TX key on which the rule does nothing but skip; None if it is no gate."""
    if rule.operator is None or rule.operator.name not in _GATE_OPERATORS or len(rule.targets) != 1:
        return None
    target = rule.targets[0]
    if target.collection != "TX" or target.key is None or target.is_count or rule.exclusions:
        return None
    does_nothing_else = (
        rule.skip_after is not None
        and not rule.is_logged
        and not (rule.chain or rule.setvars or rule.controls or rule.expirevars or rule.initcols or rule.has_capture)
        and (rule.disruptive is None or rule.disruptive.name == "pass")
    )
    return target.key if does_nothing_else else None


def may_set(rule: Rule, key: bytes) -> bool:
    """May the rule or a link of its chain set that TX key? A name made of macros may be any that begins like it."""
    for link in (rule, *rule.chain):
        if key == DETECTION_SCORE and link.operator is not None and link.operator.detector is not None:
            return True
        if link.has_capture and len(key) == 1 and key.isdigit():
            return True
        for setvar in link.setvars:
            if setvar.collection != "TX":
                continue
            if setvar.key.is_constant:
                if setvar.key.source == key:
                    return True
            else:
                first = setvar.key.parts[0]
                if key.startswith(first if isinstance(first, bytes) else b""):
                    return True
    return False


def _constant_tx_keys(rules: Sequence[Rule]) -> set[bytes]:
    keys = {b"%d" % number for number in range(10)}
    for rule in rules:
        for link in (rule, *rule.chain):
            keys.update(setvar.key.source for setvar in link.setvars if setvar.key.is_constant)
    return keys


PLACES: dict[str, Place] = {
    "ARGS_NAMES": Place.NAME,
    "ARGS_GET_NAMES": Place.NAME,
    "ARGS_POST_NAMES": Place.NAME,
    "FILES": Place.FILE_NAME,
    "FILES_NAMES": Place.NAME,
    "MULTIPART_FILENAME": Place.FILE_NAME,
    "MULTIPART_NAME": Place.NAME,
    "MULTIPART_PART_HEADERS": Place.HEADER,
    "PATH_INFO": Place.PATH,
    "REQUEST_BASENAME": Place.PATH,
    "REQUEST_BODY": Place.BODY,
    "REQUEST_COOKIES": Place.COOKIE,
    "REQUEST_COOKIES_NAMES": Place.NAME,
    "REQUEST_FILENAME": Place.PATH,
    "REQUEST_HEADERS": Place.HEADER,
    "REQUEST_HEADERS_NAMES": Place.NAME,
    "REQUEST_URI": Place.PATH,
    "REQUEST_URI_RAW": Place.PATH,
    "UNPARSED_BODY": Place.BODY,
}
"""Where a variable's value stood, for detectors; all others are arguments."""

HEADER_PLACES = {b"user-agent": Place.USER_AGENT, b"referer": Place.REFERER}


def place_of(collection: str, key: bytes | None) -> Place:
    """Where the value of that (lower-case) key stood."""
    place = PLACES.get(collection, Place.ARGUMENT)
    return HEADER_PLACES.get(key or b"", place) if collection == "REQUEST_HEADERS" else place


KeyInfo: TypeAlias = tuple[ValueClass | None, bool]


class CollectionPlan:
    """The classes of one collection: which rules its values meet, by key."""

    __slots__ = ("_classes", "_excluded", "_has_memo", "_is_secret", "_wanted", "collection", "infos")

    def __init__(
        self,
        collection: str,
        rules: Sequence[Rule],
        classes: Callable[[int, Place], ValueClass | None],
        is_secret: Callable[[str, bytes], bool],
        has_memo: bool,
    ) -> None:
        """`infos` holds what `work_out` found, for whoever is in a hurry."""
        self.collection = collection
        self.infos: dict[bytes | None, KeyInfo] = {}
        self._wanted, self._excluded = masks_of(collection, rules)
        self._classes = classes
        self._is_secret = is_secret
        self._has_memo = has_memo

    def info(self, key: bytes | None) -> KeyInfo:
        """(class of the values under that key, may results be remembered?)."""
        return self.infos.get(key) or self.work_out(key)

    def work_out(self, key: bytes | None) -> KeyInfo:
        """What `info` says, found anew and kept in `infos`."""
        if len(self.infos) >= MAX_KEYS:
            self.infos.clear()
        info = self.infos[key] = self._find(key)
        return info

    def _find(self, key: bytes | None) -> KeyInfo:
        low = key.lower() if key is not None else None
        mask = self._wanted.of(low) & ~self._excluded.of(low)
        is_secret = low is not None and self._is_secret(self.collection, low)
        may_remember = self._has_memo and self.collection not in NEVER_REMEMBERED and not is_secret
        return self._classes(mask, place_of(self.collection, low)), may_remember


class Variant:
    """A segment with its gates resolved: the direct rules left, and the value rules by collection.

    `resume` is where a gate of the segment jumps to, if that lies behind its end (0: none does).
    """

    __slots__ = ("blocks", "collections", "direct", "reach", "resume")

    def __init__(
        self,
        rules: Sequence[Rule],
        reach: int,
        resume: int,
        classes: Callable[[int, Place], ValueClass | None],
        is_secret: Callable[[str, bytes], bool],
        has_memo: bool,
    ) -> None:
        self.reach = reach
        self.resume = resume
        self.direct = 0
        direct: list[Rule] = []
        by_collection: dict[str, list[Rule]] = {}
        for rule in rules:
            if not reach >> rule.index & 1:
                continue
            if not is_value_rule(rule):
                self.direct |= 1 << rule.index
                direct.append(rule)
                continue
            for collection in dict.fromkeys(target.collection for target in rule.targets):
                by_collection.setdefault(collection, []).append(rule)
        self.collections = tuple(
            CollectionPlan(collection, some, classes, is_secret, has_memo) for collection, some in by_collection.items()
        )
        self.blocks = find_blocks(direct)


class Segment:
    """Consecutive rules of a phase in which every gate is settled when the first rule runs.

    Unless a rule among them takes a gate out, or its variable away: `gates_mask` are the gates.
    """

    __slots__ = ("_gates", "_keys", "_make", "_rules", "_unresolved", "_variants", "end", "gates_mask", "start")

    def __init__(
        self, rules: Sequence[Rule], gates: Mapping[int, bytes], make: Callable[[Sequence[Rule], int, int], Variant]
    ) -> None:
        self.start, self.end = rules[0].index, rules[-1].index + 1
        self._rules = rules
        self._gates = {rule.index: gates[rule.index] for rule in rules if rule.index in gates}
        self.gates_mask = sum(1 << index for index in self._gates)
        self._keys = tuple(dict.fromkeys(self._gates.values()))
        self._make = make
        self._variants: dict[tuple[int, tuple[bytes | None, ...]], Variant] = {}
        self._unresolved: Variant | None = None

    def variant(self, tx: Mapping[bytes, bytes], resume: int, removed: int = 0) -> Variant:
        """The rules that can run, the gates' variables being what they are now.

        `resume` is where an earlier jump goes on: rules and gates before it do not run. `removed`: rules that do not
        run, or not on all their targets; with a gate among them the gates run one by one.
        """
        if removed & self.gates_mask:
            return self._one_by_one()
        begin = max(self.start, resume)
        values = (begin, tuple(tx.get(key) for key in self._keys))
        variant = self._variants.get(values)
        if variant is None:
            if len(self._variants) >= MAX_VARIANTS:
                return self._one_by_one()
            variant = self._variants[values] = self._make(self._rules, *self._reach(tx, begin))
        return variant

    def _one_by_one(self) -> Variant:
        if self._unresolved is None:
            self._unresolved = self._make(self._rules, sum(1 << rule.index for rule in self._rules), 0)
        return self._unresolved

    def _reach(self, tx: Mapping[bytes, bytes], begin: int) -> tuple[int, int]:
        reach, next_index = 0, begin
        for rule in self._rules:
            if rule.index < next_index:
                continue
            key = self._gates.get(rule.index)
            if key is None:
                reach |= 1 << rule.index
            elif key in tx and rule.jump >= 0 and rule_test(rule)(tx[key]) is not None:
                next_index = rule.jump
        return reach, next_index if next_index > self.end else 0


def _gates(
    rules: Sequence[Rule], first_bit: int
) -> tuple[list[tuple[int, tuple[frozenset[bytes], ...]]], dict[str, tuple[int, ...]]]:
    """The gates of the rules' detectors as further clauses of the prefilter, and by class the masks of these bits.

    An alternative of more sets than a bit has clauses takes several bits, all of which must hold.
    """
    detectors: dict[str, Detector] = {}
    for rule in rules:
        if rule.operator is not None and rule.operator.detector is not None:
            detectors[rule.operator.detector.kind] = rule.operator.detector
    clauses: list[tuple[int, tuple[frozenset[bytes], ...]]] = []
    gates: dict[str, tuple[int, ...]] = {}
    bit = first_bit
    for kind, detector in detectors.items():
        masks: list[int] = []
        for alternative in detector.gate:
            mask = 0
            for start in range(0, len(alternative), CLAUSES_LIMIT):
                clauses.append((bit, alternative[start : start + CLAUSES_LIMIT]))
                mask |= 1 << bit
                bit += 1
            masks.append(mask)
        gates[kind] = tuple(masks)
    return clauses, gates


class Plan:
    """How to run a rule set. Built once; holds only caches that grow up to a bound."""

    def __init__(
        self,
        ruleset: Ruleset,
        prefilter: Candidates | None = None,
        is_secret: Callable[[str, bytes], bool] = lambda collection, key: False,
        is_secret_value: Callable[[bytes], bool] = lambda value: False,
        has_memo: bool = True,
        has_views: bool = False,
    ) -> None:
        """`is_secret(collection, key)` and `is_secret_value(value)` name what is never remembered.

        `prefilter` None: one is built of the rules' clauses. `has_views`: rules that look for attacks see the views of
        the decode ladder too (`decode: nested`).
        """
        self.ruleset = ruleset
        self.rules: list[Rule] = [rule for phase in Phase for rule in ruleset.phases.get(phase, ())]
        self.has_memo = has_memo
        self._has_views = has_views
        self.is_secret_value = is_secret_value
        self._is_secret = is_secret
        gate_clauses, self._gates = _gates([rule for rule in self.rules if is_detection(rule)], len(self.rules))
        clauses = [(rule.index, rule.clauses) for rule in self.rules]
        self._prefilter = prefilter or Prefilter(clauses + gate_clauses)
        self._detecting = sum(1 << rule.index for rule in self.rules if is_detection(rule))
        # Who brings a prefilter of his own wants to see what is left out, or to leave out nothing.
        self._shapes = Shapes(self.rules, self._prefilter, is_narrowing=prefilter is None)
        self._tests: list[Test | None] = [rule_test(rule) if is_value_rule(rule) else None for rule in self.rules]
        self.guards = self._guards()
        self._classes: dict[tuple[int, Place], ValueClass] = {}
        self._remembered = 0
        self._seen_once: set[int] = set()
        self._masks: dict[tuple[str, object], int] = {}
        self._tx_keys = sorted(_constant_tx_keys(self.rules))
        self._tx_keys_of: dict[Target, tuple[bytes, ...]] = {}
        self._covered: dict[tuple[int, bytes], bool] = {}  # by the id of a target: its rule is held
        self.chain_memos = [chain_memo_of(rule, self.tx_keys_of) if has_memo else None for rule in self.rules]
        self.segments = {phase: self._cut(ruleset.phases.get(phase, ())) for phase in Phase}

    def _guards(self) -> list[Guard | None]:
        """By rule: what must hold before it is looked at, beyond the match of a value rule."""
        is_chain_guarded = not reads_what_chains_leave(self.rules)
        guards: list[Guard | None] = []
        for rule in self.rules:
            own = None if is_value_rule(rule) else guard_of(rule)
            behind = guard_of_chain(rule) if is_chain_guarded else None
            guards.append(all_of([guard for guard in (own, behind) if guard is not None]))
        return guards

    def _cut(self, rules: Sequence[Rule]) -> tuple[Segment, ...]:
        if not rules:
            return ()
        gates = {rule.index: key for rule in rules if (key := gate_key(rule)) is not None}
        for rule in rules:
            if rule.jump >= 0 and rule.index not in gates:
                # A gate inside this jump that leads further counts only if the jump is not taken: not settled.
                gates = {
                    index: key
                    for index, key in gates.items()
                    if not (rule.index < index < rule.jump < self.rules[index].jump)
                }
        boundaries: set[int] = set()
        for place, rule in enumerate(rules):
            if any(may_set(rule, key) for key in {key for index, key in gates.items() if index > rule.index}):
                boundaries.add(place + 1)
        if len(boundaries) > MAX_BOUNDARIES:
            # Later settings of the same gates are what cost: keep the rules, run the gates one by one.
            gates, boundaries = {}, set()
        edges = [0, *sorted(boundaries - {len(rules)}), len(rules)]
        return tuple(Segment(rules[a:b], gates, self._variant) for a, b in pairwise(edges))

    def _variant(self, rules: Sequence[Rule], reach: int, resume: int) -> Variant:
        variant = Variant(rules, reach, resume, self._value_class, self._is_secret, self.has_memo)
        if not self.has_memo:
            variant.blocks.clear()
        return variant

    def _value_class(self, mask: int, place: Place) -> ValueClass | None:
        if not mask:
            return None
        if not (mask & self._detecting or self._has_views):
            place = Place.ARGUMENT  # no one asks for it
        known = self._classes.get((mask, place))
        if known is None:
            rules = [rule for rule in self.rules if mask >> rule.index & 1]
            known = ValueClass(rules, self._tests, self._prefilter, self._shapes, place, self._gates, self._has_views)
            self._classes[(mask, place)] = known
        return known

    def tx_keys_of(self, target: Target) -> tuple[bytes, ...]:
        """TX keys that some rule sets by name and that the target's pattern covers."""
        keys = self._tx_keys_of.get(target)
        if keys is None:
            keys = self._tx_keys_of[target] = tuple(key for key in self._tx_keys if target.covers(key))
        return keys

    def is_covered(self, target: Target, key: bytes) -> bool:
        """Is that TX key meant by the target's pattern? `Target.covers`, remembered: names come again."""
        covered = self._covered.get((id(target), key))
        if covered is None:
            if len(self._covered) >= MAX_KEYS:
                self._covered.clear()
            covered = self._covered[(id(target), key)] = target.covers(key)
        return covered

    def mask_of_ids(self, ranges: tuple[tuple[int, int], ...]) -> int:
        """Rules whose id is in one of the inclusive ranges."""
        return self._mask(("id", ranges), lambda rule: any(first <= rule.id <= last for first, last in ranges))

    def mask_of_tag(self, tag: str) -> int:
        """Rules with exactly that tag."""
        return self._mask(("tag", tag), lambda rule: tag in rule.tags)

    def mask_of_msg(self, msg: bytes) -> int:
        """Rules with exactly that message."""
        return self._mask(("msg", msg), lambda rule: rule.msg is not None and rule.msg.source == msg)

    def mask_of_removal(self, control: Control) -> int:
        """The rules that `ctl:ruleRemoveBy...` or `ctl:ruleRemoveTargetBy...` means."""
        if control.name.endswith("byid"):
            return self.mask_of_ids(control.ids)
        if control.name.endswith("bytag"):
            return self.mask_of_tag(control.argument.decode("latin-1"))
        return self.mask_of_msg(control.argument)

    def _mask(self, key: tuple[str, object], is_meant: Callable[[Rule], bool]) -> int:
        mask = self._masks.get(key)
        if mask is None:
            if len(self._masks) >= MAX_KEYS:
                self._masks.clear()
            mask = self._masks[key] = sum(1 << rule.index for rule in self.rules if is_meant(rule))
        return mask

    def match_new(
        self, value_class: ValueClass, value: bytes, may_remember: bool, scanned: dict[bytes, int]
    ) -> tuple[Fired, ...]:
        """The rules of the class that match a value of at most LARGE_BYTES that the younger memo does not know."""
        if not may_remember or len(value) > MEMO_BYTES:
            return value_class.match(value, scanned)
        fired = value_class.recall(value)
        if fired is not None:
            return fired
        fired = value_class.match(value, scanned)
        # Most values never come again. Only one that does is worth a place and a look for secrets in it;
        # until then its hash is all that stays.
        mark = hash(value) ^ id(value_class)
        if mark not in self._seen_once:
            if len(self._seen_once) >= SEEN_ONCE:
                self._seen_once.clear()
            self._seen_once.add(mark)
        elif not self.is_secret_value(value):
            self._remembered += 1
            if self._remembered > MEMO_CLASSES_VALUES:
                self._remembered = 0
                for other in self._classes.values():
                    other.forget()
            value_class.remember(value, fired)
        return fired

    def match_large(
        self, value_class: ValueClass, value: bytes, deadline: Deadline
    ) -> Generator[None, None, tuple[Fired, ...]]:
        """The same for a larger value, in slices."""
        return value_class.match_in_slices(value, deadline)
