"""One HTTP exchange through the rules: phases in order, collections, what was decided.

Only this object changes while a request is inspected. Value rules are matched first, segment by segment;
then the rules that fired and the direct rules run in rule order, so that setvar, ctl and skipAfter see
each other as SecLang says.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import TypeAlias, TypeVar

from extproc.actions.control import Control, CoversKey
from extproc.actions.setvar import SetVar, parse_number
from extproc.bodies.charset import FIELD, read_by_charset
from extproc.bodies.contract import ParsedBody
from extproc.bodies.decompress import decompress_steps
from extproc.bodies.registry import PROCESSORS
from extproc.bodies.sniff import is_binary, processor_for, sniff
from extproc.engine.chains import NAMES_BYTES, ChainMemo
from extproc.engine.collection import MAX_VARIABLES, PERSISTENT, PersistentStore, Record, assign
from extproc.engine.matching import LARGE_BYTES, paced
from extproc.engine.plan import DETECTION_SCORE, Plan, Segment
from extproc.engine.ruleset import BodySettings, Disruptive, Rule, Target
from extproc.engine.treatment import Removal, Terms
from extproc.engine.txblock import TxBlock
from extproc.engine.variables import CHANGING, LATE_HEADERS, PHASE_TWO, VARIABLES, Pairs
from extproc.model.deadline import Deadline
from extproc.model.message import Headers, RequestHead, ResponseHead
from extproc.model.phase import Phase
from extproc.model.verdict import Match, Mode
from extproc.operators.contract import Captures, Operator
from extproc.operators.detectors import Detected, Viewed

Work: TypeAlias = Generator[None, None, None]

T = TypeVar("T")

Found: TypeAlias = tuple[str, bytes | None, bytes, Captures]
"""(collection, key, the text that the operator saw, captures)."""

MAX_MATCHES = 200
"""Matches recorded per transaction; more are counted in TX and not told one by one."""

MAX_MATCHES_PER_RULE = 10
"""Matches recorded per rule, one per variable."""

TX_BYTES = 8192
"""Longest value that capture or setvar stores."""

TX_VARIABLES = 2000
"""TX variables a transaction may hold."""

SEVERITIES = ("EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG")

SCORES = (
    b"blocking_inbound_anomaly_score",
    b"blocking_outbound_anomaly_score",
    b"inbound_anomaly_score",
    b"outbound_anomaly_score",
    b"anomaly_score",
    DETECTION_SCORE,
)
"""TX variables that hold the score, the first that is set counts most."""

DETECTION_THRESHOLD = b"detection_threshold"
"""TX key: the least score of a finding that counts. careful 6, default 5, sensitive 4."""

DEFAULT_THRESHOLD = 5

RAW_BODIES = frozenset({"", "URLENCODED", "GRPC", "PROTOBUF"})
"""Processors whose bodies REQUEST_BODY holds as they are; the last two ModSecurity does not take apart."""


_ARRAY_INDEX = re.compile(rb"[.]array_[0-9]+")
_NO_PINS: Mapping[bytes, bytes] = {}
_NO_FIELDS: Mapping[tuple[str, bytes], int] = {}
_NO_MATCH = Operator("noMatch", b"", lambda value: None)


class Interruption:
    """A disruptive action that took effect, or would have."""

    __slots__ = ("location", "phase", "rule_id", "status")

    def __init__(self, rule_id: int, phase: Phase, status: int, location: bytes = b"") -> None:
        self.rule_id = rule_id
        self.phase = phase
        self.status = status
        self.location = location


class Transaction:
    """Feed it head, body, response; run the phases; read `interruption`, `would` and `matches`."""

    def __init__(
        self, plan: Plan, head: RequestHead, mode: Mode, store: PersistentStore, incident: str, started: float
    ) -> None:
        self.plan = plan
        self.head: RequestHead = head
        self.mode = mode
        self.store = store
        self.incident: str = incident
        self.started: float = started
        self.bodies: BodySettings = plan.ruleset.bodies
        self.raw_uri: bytes = head.path
        headers: Pairs = list(head.headers)
        if head.authority and not any(key == b"host" for key, _ in headers):
            headers.insert(0, (b"host", head.authority))
        self.request_headers: Pairs = headers
        self.tx: dict[bytes, bytes] = {}
        self.environment: dict[bytes, bytes] = {}
        self.flags: dict[str, int] = {}
        self.body: bytes = b""
        self.is_body_forced = False
        self.is_body_read = self.bodies.is_request_read
        self.is_response_read = self.bodies.is_response_read
        self.processor: str = ""
        self.content_type: bytes = b""
        self.parsed: ParsedBody = ParsedBody()
        self.response: ResponseHead | None = None
        self.response_headers: Pairs = []
        self.response_body: bytes = b""
        self.partly: str | None = None
        self.matched_vars: list[tuple[bytes, bytes]] = []
        self.matches: list[Match] = []
        self.highest_severity: int = 255
        self.interruption: Interruption | None = None
        self.would: Interruption | None = None
        self.phase = Phase.REQUEST_HEADERS
        self._allowed: str | None = None
        self._values: dict[str, Pairs] = {}
        self._records: dict[str, Record] = {}
        self._scanned: dict[bytes, int] = {}
        self._tx_made: dict[bytes, None] = {}  # TX keys whose names came out of macros
        self.hidden = 0
        self._removed = 0
        self._removed_targets: list[tuple[int, CoversKey]] = []
        self._narrowed = 0  # the rules that some target was taken from
        self._blinded = 0  # those that lost a variable of TX
        self._removals: tuple[Removal, ...] = ()
        self._pins: Mapping[bytes, bytes] = _NO_PINS
        self._fields: Mapping[tuple[str, bytes], int] = _NO_FIELDS
        self._resume = 0
        self._rule: Rule | None = None
        self._header_counts: dict[bytes, int] | None = None
        for key, value in headers:
            if key == b"content-type":
                self.processor = processor_for(value, b"")
                self.content_type = value
                break

    def govern(self, bodies: BodySettings, terms: Terms, removals: tuple[Removal, ...]) -> None:
        """Before the first phase: limits, what the policies say, and what the rules may not look at."""
        self.bodies = bodies
        self.is_body_read = bodies.is_request_read
        self.is_response_read = bodies.is_response_read
        self._pins = terms.pins
        self._fields = terms.fields
        self._removals = removals
        self._begin()

    def _begin(self) -> None:
        """What holds before a rule ran."""
        self.tx.update(self._pins)
        self._removed = 0
        self._removed_targets.clear()
        self._narrowed = self._blinded = 0
        for removal in self._removals:
            if removal.target is None:
                self._removed |= removal.mask
            else:
                self._remove_target(removal.mask, removal.target)

    def _remove_target(self, mask: int, target: CoversKey) -> None:
        self._removed_targets.append((mask, target))
        self._narrowed |= mask
        if target.collection == "TX":
            self._blinded |= mask

    def deny(self, status: int) -> None:
        """Refused before any rule ran (a deny list)."""
        self._interrupt(Interruption(0, Phase.REQUEST_HEADERS, status))

    @property
    def reading(self) -> tuple[object, ...]:
        """What decides how a body is parsed: two transactions in which it is the same parse it alike."""
        return self.bodies, self.processor, self.is_body_read, self.is_body_forced

    def share(self, other: Transaction) -> None:
        """What the other one worked out of the head of the same request."""
        self.flags.update(other.flags)
        self._values.update({name: pairs for name, pairs in other._values.items() if name not in PHASE_TWO})

    def adopt(self, other: Transaction) -> None:
        """The body as the other one parsed it, whose `reading` was the same before."""
        self.body, self.parsed, self.processor = other.body, other.parsed, other.processor
        self.is_body_forced = other.is_body_forced
        for name in PHASE_TWO:
            self._values.pop(name, None)
        self.flags.update(other.flags)
        self._values.update(other._values)

    # What the rules see

    def values(self, collection: str) -> Pairs:
        """(key, value) pairs of a variable, [] if it does not exist."""
        if collection in CHANGING:
            return VARIABLES[collection](self)
        pairs = self._values.get(collection)
        if pairs is None:
            provider = VARIABLES.get(collection)
            pairs = self._values[collection] = provider(self) if provider is not None else []
        return pairs

    def persistent(self, collection: str) -> Pairs:
        """Variables of a persistent collection; [] before initcol."""
        record = self._records.get(collection)
        return list(record.live(self.store.now()).items()) if record is not None else []

    def header_counts(self) -> dict[bytes, int]:
        """Request header lines by name."""
        counts = self._header_counts
        if counts is None:
            counts = self._header_counts = {}
            for name, _ in self.request_headers:
                if name is not None:
                    low = name.lower()
                    counts[low] = counts.get(low, 0) + 1
        return counts

    def matched_pairs(self) -> Pairs:
        """MATCHED_VARS: names and values of what the chain matched so far."""
        return [(name, value) for name, value in self.matched_vars]

    def rule_pairs(self) -> Pairs:
        """RULE: the rule that runs now."""
        rule = self._rule
        if rule is None:
            return []
        msg = rule.msg.source if rule.msg else b""
        return [(b"id", b"%d" % rule.id), (b"msg", msg), (b"severity", rule.severity.encode())]

    @property
    def visible_body(self) -> bytes:
        """REQUEST_BODY: the raw body of a form or of a type unknown to the manual (*REQUEST_BODY*).

        JSON, XML and multipart bodies are seen by their parts; raw only if forced or if parsing failed.
        """
        return self.body if self.processor in RAW_BODIES or self.is_body_forced else b""

    @property
    def unparsed_body(self) -> bytes:
        """UNPARSED_BODY: what no processor took apart, whole - a body of no known type, one that does not parse, and
        XML, whose declarations are in none of its parts. A binary body is none: an image is not text."""
        if self.processor in ("", "XML") or self.parsed.error:
            return b"" if is_binary(self.body) else self.body
        return b""

    @property
    def score(self) -> int:
        """The anomaly score so far."""
        tx = self.tx
        return max([parse_number(tx[key]) for key in SCORES if key in tx], default=0)

    def lookup(self, collection: str, key: bytes | None) -> bytes:
        """A macro's value; b"" when there is none."""
        if collection == "TX":
            return self.tx.get(key or b"", b"")
        if collection not in VARIABLES:
            return b""
        for name, value in self.values(collection):
            if key is None or (name is not None and name.lower() == key):
                return value
        return b""

    def note_partly(self, reason: str) -> None:
        """A limit was passed: the event says so. The first reason stays."""
        if self.partly is None:
            self.partly = reason

    # Messages

    def request_body(self, body: bytes, deadline: Deadline) -> Work:
        """Decode and parse the body. What is malformed becomes REQBODY_ERROR."""
        for name in PHASE_TWO:
            self._values.pop(name, None)
        if not self.is_body_read:
            if body:
                self.note_partly("request-body-access-off")
            return
        limit = self.bodies.request_limit_bytes
        is_cut = len(body) > limit
        if is_cut:
            self._exceed("request-body-limit")
            body = b"" if self.bodies.is_request_excess_skipped else body[:limit]
        sent = b""
        encoding = b",".join([value for key, value in self.request_headers if key == b"content-encoding"])
        if encoding and body and self.interruption is None:
            # What is packed may not be larger than what is not.
            limits = replace(self.bodies.limits, decompressed_bytes=min(limit, self.bodies.limits.decompressed_bytes))
            sent = body
            decoded = yield from paced(decompress_steps(body, encoding, limits), deadline)
            if decoded.partly:
                self._exceed(decoded.partly)
            if not decoded.error:
                body = decoded.body
            else:
                # Whatever the label says, an app may read the bytes as they came: look at both.
                body = decoded.body + body if decoded.body != body else body
                self.parsed.error = b"Content-Encoding: " + decoded.error.encode()
                self.note_partly(decoded.error)
        if self.interruption is not None:
            return
        self.body = body
        error = self.parsed.error
        is_guess = not self.processor and self.bodies.is_type_guessed
        if is_guess:
            self.processor = sniff(body)
        processor = PROCESSORS.get(self.processor)
        if processor is not None and body:
            content_type = self.content_type
            self.parsed = yield from paced(processor(body, content_type, self.bodies.limits), deadline)
            self.flags.update(self.parsed.flags)
            if self.parsed.partly:
                self.note_partly(self.parsed.partly)
            if self.bodies.is_type_guessed:
                self.parsed.args += self.parsed.xml_leaves
                if sent and self.processor in ("URLENCODED", "MULTIPART"):
                    # An app that does not unpack takes the bytes as they came: what they hold counts as well.
                    as_sent = yield from paced(processor(sent, content_type, self.bodies.limits), deadline)
                    self.parsed.args += as_sent.args
                    self.parsed.files += as_sent.files
            if is_guess:
                # The sender promised nothing: what does not parse is no fault, and is shown as it is.
                self.is_body_forced = True
                if self.parsed.error:
                    self.parsed.error, self.processor = b"", ""
            self.parsed.error = self.parsed.error or error
            if self.parsed.error and self.processor != "URLENCODED":
                # What the parser gave up on is shown to the rules as it is.
                self.is_body_forced = True
        if body and self.bodies.is_type_guessed:
            yield from self._read_otherwise(body, bool(error), deadline)
        if is_cut and self.bodies.is_cut_forgiven:
            # What the parser found before the cut stands; the cut itself is nobody's fault.
            for name in self.parsed.flags:
                self.flags.pop(name, None)
            self.parsed.error = b""
            self.is_body_forced = True

    def _read_otherwise(self, body: bytes, is_broken: bool, deadline: Deadline) -> Work:
        """What apps make of a body that honour charsets and the transfer encodings of parts.

        `is_broken`: it could not be unpacked, which no other reading cures.
        """
        parsed = self.parsed
        parsed.error = parsed.error or parsed.unreadable
        if b"charset" in self.content_type.lower() or any(name == FIELD for name, _ in parsed.args):
            more = yield from paced(read_by_charset(body, self.content_type, parsed, self.bodies.limits), deadline)
            parsed.args += more.args
            if more.processor in ("JSON", "XML") and not is_broken and parsed.partly is None:
                # It is sound as its label says; that its bytes alone are not is nobody's fault.
                parsed.error = b""
            parsed.error = parsed.error or more.error
        parsed.args += parsed.readings

    def _exceed(self, reason: str) -> None:
        """The body is larger than what is looked at: refused, or looked at in part (SecRequestBodyLimitAction)."""
        self.flags["INBOUND_DATA_ERROR"] = 1
        self.note_partly(reason)
        if not (self.bodies.is_request_excess_partial or self.bodies.is_request_excess_skipped):
            self._interrupt(Interruption(0, Phase.REQUEST_BODY, 413))

    def request_trailers(self, trailers: Headers) -> None:
        """Trailers are headers that came late: phase 1 begins anew, as if all had come at once."""
        self.request_headers = [*self.request_headers, *trailers]
        self._header_counts = None
        for name in PHASE_TWO | LATE_HEADERS:
            self._values.pop(name, None)
        self.tx.clear()
        self.matches.clear()
        self.matched_vars = []
        self.would = None
        self._begin()

    def response_head(self, head: ResponseHead) -> None:
        """The app's answer begins."""
        self.response = head
        self.response_headers = list(head.headers)

    # Phases

    def run(self, phase: Phase, deadline: Deadline) -> Work:
        """All rules of a phase. Stops at an interruption; phase 5 runs whatever was decided."""
        self.phase = phase
        if self.mode is Mode.OFF:
            return
        if phase is not Phase.LOGGING:
            if self.interruption is not None or self._allowed == "all":
                return
            if self._allowed == "request" and phase <= Phase.REQUEST_BODY:
                return
        if self._allowed == "phase" or phase is Phase.LOGGING:
            self._allowed = None  # an allow of an earlier phase says nothing of what is written down
        self._resume = 0
        for segment in self.plan.segments[phase]:
            if self._resume < segment.end:
                yield from self._run_segment(segment, deadline)
                if self._is_phase_over():
                    return

    def _is_phase_over(self) -> bool:
        return self._allowed is not None or (self.interruption is not None and self.phase is not Phase.LOGGING)

    def _run_segment(self, segment: Segment, deadline: Deadline) -> Work:
        removed, blinded = self._removed, self._blinded
        variant = segment.variant(self.tx, self._resume, removed | blinded)
        plan, scanned, known = self.plan, self._scanned, self._values
        fired: dict[int, list[Found]] = {}
        pending = variant.direct
        for collection_plan in variant.collections:
            collection, infos = collection_plan.collection, collection_plan.infos
            pairs = known.get(collection)
            for key, value in self.values(collection) if pairs is None else pairs:
                info = infos.get(key)
                if info is None:
                    info = collection_plan.work_out(key)
                    if deadline.is_slice_over():
                        yield
                value_class, may_remember = info
                if value_class is None:
                    continue
                hits = value_class.young.get(value) if may_remember else None
                if hits is None:
                    if len(value) > LARGE_BYTES:
                        hits = yield from plan.match_large(value_class, value, deadline)
                    else:
                        hits = plan.match_new(value_class, value, may_remember, scanned)
                    if deadline.is_slice_over():
                        yield
                for index, text, captures in hits:
                    if index < 0:
                        self.note_partly("detection-limit")
                        continue
                    if type(captures) is Detected and not self._is_enough(plan.rules[index], captures, collection, key):
                        continue
                    fired.setdefault(index, []).append((collection, key, text, captures))
                    pending |= 1 << index
        rules, guards, chain_memos, blocks = plan.rules, plan.guards, plan.chain_memos, variant.blocks
        while pending:
            bit = pending & -pending
            index = bit.bit_length() - 1
            if index < self._resume:
                pending = pending >> self._resume << self._resume
                continue
            block = blocks.get(index)
            if block is not None and pending & block.span == block.mask and not self._is_touched(block):
                # Only rules on TX up to the block's end: what they do may be known.
                pending ^= block.mask
                self._run_block(block)
                if self._is_phase_over():
                    return
                continue
            pending ^= bit
            if self._removed & bit:
                self.hidden |= bit
                continue
            guard = guards[index]
            if guard is not None and not guard(self):
                continue
            rule = rules[index]
            found = fired.get(index)
            if found is None:
                found = self.evaluate(rule)
            elif len(found) > 1 and len(rule.targets) > 1:
                order = [target.collection for target in rule.targets]
                found.sort(key=lambda item: order.index(item[0]))
            is_narrowed = self._narrowed & bit
            if is_narrowed and found:
                found = self._without_removed(rule, found)
            if not found:
                continue
            memo = chain_memos[index]
            if memo is None or is_narrowed:
                self._execute(rule, found)
            else:
                self._execute_remembered(memo, rule, found)
            if self._is_phase_over():
                return
            if self._removed is not removed or self._blinded is not blinded:
                taken = (self._removed | self._blinded) & ~(removed | blinded)
                removed, blinded = self._removed, self._blinded
                if taken & segment.gates_mask >> self._resume << self._resume:
                    # What was settled no longer holds: the rest of the segment runs gate by gate.
                    self._resume = max(self._resume, index + 1)
                    yield from self._run_segment(segment, deadline)
                    return
            if deadline.is_slice_over():
                yield
        self._resume = max(self._resume, variant.resume)

    def _is_touched(self, block: TxBlock) -> bool:
        """Did a ctl remove a rule of the block, or a TX target of one?"""
        return bool(self._removed & block.mask) or any(
            mask & block.mask and target.collection == "TX" for mask, target in self._removed_targets
        )

    def _run_block(self, block: TxBlock) -> None:
        tx = self.tx
        inputs = block.inputs(tx, self._pins)
        is_known, outcome = block.recall(inputs)
        if outcome is not None:
            written, removed, resume = outcome
            tx.update(written)
            for key in removed:
                del tx[key]
            self._resume = max(self._resume, resume)
            return
        told = (len(self.matches), self.would, self.interruption, self._allowed, self.highest_severity)
        resume_before, pending = self._resume, block.mask
        while pending:
            bit = pending & -pending
            pending ^= bit
            index = bit.bit_length() - 1
            if index < self._resume:
                continue
            rule = self.plan.rules[index]
            found = self.evaluate(rule)
            if found:
                self._execute(rule, found)
                if self._is_phase_over():
                    break
        if not is_known:
            has_told = told != (len(self.matches), self.would, self.interruption, self._allowed, self.highest_severity)
            resume = self._resume if self._resume > resume_before else 0
            block.remember(inputs, None if has_told else tx, resume)

    # Direct rules and chain links

    def evaluate(self, rule: Rule) -> list[Found]:
        """Run one link against its targets now; what matched, in target order."""
        if rule.operator is None and rule.dynamic is None:
            return [("", None, b"", ())]
        test = self._operator(rule).test
        found: list[Found] = []
        for target in rule.targets:
            for key, value in self._resolve(target):
                if rule.exclusions and self._is_excluded(rule, target.collection, key):
                    continue
                for text in self._texts(rule, value):
                    captures = test(text)
                    if type(captures) is Detected and not self._is_enough(rule, captures, target.collection, key):
                        captures = None
                    if rule.is_negated:
                        captures = () if captures is None else None
                    if captures is not None:
                        found.append((target.collection, key, text, captures))
        return found

    def _is_enough(self, rule: Rule, captures: Detected, collection: str, key: bytes | None) -> bool:
        """Is the finding as strong as the rule, or else the transaction, asks for, and as the field asks for?"""
        least = rule.operator.least_score if rule.operator is not None else 0
        if not least:
            least = parse_number(self.tx[DETECTION_THRESHOLD]) if DETECTION_THRESHOLD in self.tx else DEFAULT_THRESHOLD
        if self._fields and key is not None:
            key = key.lower()
            asked = self._fields.get((collection, key), 0)
            if not asked and b".array_" in key:
                asked = self._fields.get((collection, _ARRAY_INDEX.sub(b".array_*", key)), 0)
            if asked:
                # Data (a number, a date) asks for less than the threshold, prose for more.
                least = max(least, asked) if asked >= DEFAULT_THRESHOLD else min(least, asked)
        return captures.evidence.finding.score >= least

    def _resolve(self, target: Target) -> Pairs:
        collection = target.collection
        if target.is_count:
            if target.key is None and target.key_test is None:
                return [(None, b"%d" % len(self.values(collection)))]
            if collection == "TX" and target.key is not None:
                return [(target.key, b"1" if target.key in self.tx else b"0")]
            count = sum([target.covers(key and key.lower()) for key, _ in self.values(collection)])
            return [(target.key, b"%d" % count)]
        if collection == "TX" and target.key is not None:
            value = self.tx.get(target.key)
            return [(target.key, value)] if value is not None else []
        if collection == "TX" and target.key_test is not None:
            known = self.plan.tx_keys_of(target)
            is_covered = self.plan.is_covered
            made = [key for key in self._tx_made if key not in known and is_covered(target, key)]
            return [(key, self.tx[key]) for key in (*known, *made) if key in self.tx]
        pairs = self.values(collection)
        if target.key is None and target.key_test is None:
            return pairs
        return [pair for pair in pairs if target.covers(pair[0] and pair[0].lower())]

    @staticmethod
    def _is_excluded(rule: Rule, collection: str, key: bytes | None) -> bool:
        low = key.lower() if key is not None else None
        return any(target.collection == collection and target.covers(low) for target in rule.exclusions)

    @staticmethod
    def _texts(rule: Rule, value: bytes) -> list[bytes]:
        texts = [value]
        for transformation in rule.transformations:
            text = transformation.apply(texts[-1])
            if not rule.is_multi_match:
                texts[0] = text
            elif text != texts[-1]:
                texts.append(text)
        return texts

    def _operator(self, rule: Rule) -> Operator:
        if rule.dynamic is not None and rule.dynamic_argument is not None:
            return rule.dynamic(rule.dynamic_argument.expand(self.lookup))
        return rule.operator or _NO_MATCH

    # Actions

    def _execute_remembered(self, memo: ChainMemo, rule: Rule, found: list[Found]) -> None:
        """The same as `_execute`, by heart where the chain did not hold for the same names."""
        tx, made = self.tx, self._tx_made
        names = [item[1] for item in found]
        inputs = memo.inputs(names, tx, made)
        outcome = memo.recall(inputs)
        pins = self._pins
        if (
            outcome is not None
            and len(tx) + len(outcome[0]) < TX_VARIABLES
            and not (pins and any(key in pins for key in (*outcome[0], *outcome[1])))
        ):
            written, removed, new, matched_vars, self._rule = outcome
            tx.update(written)
            for key in removed:
                tx.pop(key, None)
            for key in new:
                made[key] = None
            self.matched_vars = list(matched_vars)
            return
        before, count = dict(tx), len(made)
        is_complete = self._execute(rule, found)
        if is_complete or pins or len(tx) >= TX_VARIABLES:
            return
        if sum([len(name or b"") for name in names]) <= NAMES_BYTES:
            memo.remember(inputs, before, tx, tuple(made)[count:], self.matched_vars, self._rule)

    def _execute(self, rule: Rule, found: list[Found]) -> bool:
        """The actions of a rule whose first link matched. Does the chain hold?"""
        self.matched_vars = []
        first = found
        self._apply(rule, found)
        for link in rule.chain:
            found = self.evaluate(link)
            if self._removed_targets and found:
                found = self._without_removed(rule, found)
            if not found:
                return False
            self._apply(link, found)
        self._rule = rule
        for _, _, _, captures in first:
            if type(captures) is Detected:
                # The strongest counts, not the sum: hints do not add up to an attack.
                score = max(captures.evidence.finding.score, parse_number(self.tx.get(DETECTION_SCORE, b"0")))
                self.tx[DETECTION_SCORE] = b"%d" % score
        for link in (*reversed(rule.chain), rule):
            if link.controls:
                for control in link.controls:
                    self._control(control)
            for expire in link.expirevars:
                record = self._records.get(expire.collection)
                if record is not None:
                    seconds = parse_number(expire.seconds.expand(self.lookup))
                    record.expiry[expire.key] = self.store.now() + seconds
        if rule.severity:
            self.highest_severity = min(self.highest_severity, SEVERITIES.index(rule.severity))
        if rule.is_logged:
            self._record_matches(rule, first if not rule.chain else found[-1:])
        if rule.disruptive is not None and rule.disruptive.name != "pass":
            self._disrupt(rule, rule.disruptive)
        if rule.jump >= 0:
            self._resume = rule.jump
        return True

    def _apply(self, link: Rule, found: list[Found]) -> None:
        """What happens for each match, whether or not the chain holds: captures, MATCHED_VAR, setvar."""
        self._rule = link
        for initcol in link.initcols:
            if initcol.collection in PERSISTENT:
                record = self.store.record(initcol.collection, initcol.key.expand(self.lookup))
                self._records[initcol.collection] = record
        for collection, key, text, captures in found:
            if collection:
                name = variable_name(collection, key)
                self.matched_vars.append((name, text))
            if link.has_capture and captures:
                for number in range(10):
                    slot = b"%d" % number
                    if number < len(captures):
                        self.tx[slot] = captures[number][:TX_BYTES]
                    else:
                        self.tx.pop(slot, None)
            for setvar in link.setvars:
                self._assign(setvar.collection, setvar.key.expand(self.lookup).lower(), setvar)

    def _assign(self, collection: str, key: bytes, setvar: SetVar) -> None:
        value = setvar.value.expand(self.lookup)[:TX_BYTES]
        assignment = setvar.assignment
        if collection == "TX":
            if key not in self._pins and (key in self.tx or len(self.tx) < TX_VARIABLES):
                assign(self.tx, key, assignment, value)
                if not setvar.key.is_constant:
                    self._tx_made[key] = None
        elif collection == "ENV":
            assign(self.environment, key, assignment, value)
        elif (record := self._records.get(collection)) is not None:
            variables = record.live(self.store.now())
            if key in variables or len(variables) < MAX_VARIABLES:
                assign(variables, key, assignment, value)

    def _record_matches(self, rule: Rule, found: list[Found]) -> None:
        last_vars = self.matched_vars
        for collection, key, text, captures in found[:MAX_MATCHES_PER_RULE]:
            if len(self.matches) >= MAX_MATCHES:
                return
            name = variable_name(collection, key) if collection else b""
            if len(found) > 1:
                self.matched_vars = [*last_vars, (name, text)]
            if rule.has_capture and captures and len(found) > 1:
                self.tx[b"0"] = captures[0][:TX_BYTES]
            # What is not part of the text (a fingerprint of @detectSQLi) speaks for all of it.
            start = text.find(captures[0]) if captures else -1
            span = (start, start + len(captures[0])) if start >= 0 and captures[0] else (0, len(text))
            finding = captures.evidence.finding if type(captures) is Detected else None
            self.matches.append(
                Match(
                    rule_id=rule.id,
                    phase=rule.phase,
                    variable=name.decode("latin-1"),
                    msg=rule.msg.expand(self.lookup) if rule.msg else b"",
                    is_msg_fixed=rule.msg is not None and rule.msg.is_constant,
                    logdata=rule.logdata.expand(self.lookup) if rule.logdata else b"",
                    tags=rule.tags,
                    severity=rule.severity,
                    value=text,
                    span=finding.span if finding is not None else span,
                    via=_via(captures),
                    reason=finding.reason if finding is not None else "",
                    score=finding.score if finding is not None else 0,
                )
            )
        self.matched_vars = last_vars

    def _disrupt(self, rule: Rule, disruptive: Disruptive) -> None:
        if disruptive.name == "allow":
            # Skips the rest only where a denial would have counted.
            if self.mode is Mode.BLOCK:
                self._allowed = disruptive.scope
                self.note_partly("allow-rule")
            return
        location = disruptive.location.expand(self.lookup) if disruptive.location else b""
        self._interrupt(Interruption(rule.id, rule.phase, disruptive.status, location))

    def _interrupt(self, interruption: Interruption) -> None:
        if self.would is None:
            self.would = interruption
        if self.mode is Mode.BLOCK and self.phase is not Phase.LOGGING:
            self.interruption = interruption

    def _without_removed(self, rule: Rule, found: list[Found]) -> list[Found]:
        bit = 1 << rule.index
        targets = [target for mask, target in self._removed_targets if mask & bit]
        if not targets:
            return found
        left = [
            item
            for item in found
            if not any(
                target.collection == item[0] and target.covers(item[1].lower() if item[1] is not None else None)
                for target in targets
            )
        ]
        if len(left) < len(found):
            self.hidden |= bit
        return left

    def _meant(self, target: CoversKey) -> tuple[CoversKey, ...]:
        """A removal's target; MATCHED_VARS stands for every variable that the rule just matched."""
        if target.collection != "MATCHED_VARS":
            return (target,)
        parts = [name.partition(b":") for name, _ in self.matched_vars]
        return tuple(Target(collection.decode(), key.lower() if colon else None) for collection, colon, key in parts)

    def _control(self, control: Control) -> None:
        name, argument = control.name, control.argument
        if name.startswith("ruleremovetarget"):
            if control.target is not None:
                mask = self.plan.mask_of_removal(control)
                for target in self._meant(control.target):
                    self._remove_target(mask, target)
        elif name.startswith("ruleremoveby"):
            self._removed |= self.plan.mask_of_removal(control)
        elif name == "requestbodyprocessor":
            self.processor = argument.decode("latin-1").upper()
        elif name == "forcerequestbodyvariable":
            self.is_body_forced = argument.lower() == b"on"
        elif name == "requestbodyaccess":
            self.is_body_read = argument.lower() == b"on"
        elif name == "responsebodyaccess":
            self.is_response_read = argument.lower() == b"on"
        elif name == "ruleengine":
            wanted = {b"on": Mode.BLOCK, b"detectiononly": Mode.MONITOR, b"off": Mode.OFF}.get(argument.lower())
            if wanted is not None:
                # A rule may weaken the mode that the user chose, never strengthen it.
                self.mode = Mode.weakest(self.mode, wanted)
                if self.mode is Mode.OFF:
                    self.note_partly("mode-off")


def _via(captures: Captures) -> tuple[str, ...]:
    if type(captures) is Detected:
        return captures.evidence.via
    return captures.via if type(captures) is Viewed else ()


def variable_name(collection: str, key: bytes | None) -> bytes:
    """`ARGS:q`, `REQUEST_URI`."""
    name = collection.encode("ascii")
    return b"%s:%s" % (name, key) if key is not None else name
