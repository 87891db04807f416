"""Explanation → a record of texts, masked: what `extproc explain --json` prints, and what is laid out for people.

Masking is that of the events (`events/masking.py`), held over every text on the way from what was sent to
what the operator saw. In doubt a text is hidden, `--show-secrets` shows it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from extproc.engine.ruleset import Target
from extproc.events.masking import MASK, MAX_SCANNED_BYTES, Masking
from extproc.events.scrubber import Scrubber
from extproc.model.phase import Phase
from extproc.model.verdict import Match, Mode, Outcome
from extproc.operators.detectors import Detected
from extproc.replay.explain import Explanation, Proposal, Threshold
from extproc.replay.explain_watch import Applied, Firing

SCHEMA = "extproc.explanation/1"

MAX_VARIABLES = 20
"""Matches of one rule that are told one by one; the others are counted."""


def to_record(explanation: Explanation, masking: Masking, mode_source: str) -> dict[str, Any]:
    """The whole explanation; bytes that are no UTF-8 are written as `\\xff`. Texts are cut at MAX_SCANNED_BYTES.

    `mode_source` says who chose the mode that was asked for (`--mode`, `waf.yaml: mode`).
    """
    return _Recorder(explanation, masking).record(mode_source)


class _Recorder:
    """One explanation, its secrets collected."""

    def __init__(self, explanation: Explanation, masking: Masking) -> None:
        self._explanation = explanation
        self._masking = masking
        matches = [
            Match(firing.rule.id, firing.rule.phase, variable_of(applied), value=text)
            for firing in explanation.told
            for applied in firing.applied[:MAX_VARIABLES]
            for text in dict.fromkeys(_texts(applied))
        ]
        decision = explanation.decision
        self._scrubber = Scrubber(masking, replace(decision, matches=(*decision.matches, *matches)))
        self._msgs = {match.rule_id: match.msg for match in decision.matches if match.msg}

    def record(self, mode_source: str) -> dict[str, Any]:
        explanation, decision = self._explanation, self._explanation.decision
        head = explanation.request.head
        deciding = explanation.deciding
        proposals: dict[int, list[Proposal]] = {}
        for proposal in explanation.proposals:
            proposals.setdefault(proposal.exclusion.rule_id, []).append(proposal)
        return {
            "schema": SCHEMA,
            "verdict": decision.verdict.value,
            "would": decision.would.value,
            "status": explanation.verdict.status if decision.verdict is Outcome.BLOCK else 0,
            "mode": decision.mode.value,
            "policies": list(decision.policies),
            "why": [*self._reasons(), *self._policies(), self._mode(mode_source)],
            "coverage": decision.coverage.value,
            "coverage_reason": decision.coverage_reason,
            "request": {
                "method": self._text(head.method),
                "host": self._text(head.authority),
                "path": self._text(head.path),
                "headers": len(head.headers),
                "body_bytes": len(explanation.request.body),
            },
            "ruleset": decision.ruleset,
            "score": decision.score,
            "thresholds": [_threshold(threshold) for threshold in explanation.thresholds],
            "decided_by": self._rule(deciding) if deciding is not None else None,
            "matches": [
                {
                    **self._match(firing),
                    "exclusions": [self._exclusion(proposal) for proposal in proposals.get(firing.rule.id, ())],
                }
                for firing in explanation.told
            ],
            "silent": [_place(firing) for firing in explanation.silent],
            "prefilter": self._account(),
            "exclusions": [self._exclusion(proposal) for proposal in explanation.proposals],
            "cured": explanation.cured.value if explanation.cured is not None else None,
        }

    def _reasons(self) -> list[str]:
        decision, deciding = self._explanation.decision, self._explanation.deciding
        if decision.would is Outcome.BLOCK and deciding is not None and deciding.interruption is not None:
            status = deciding.interruption.status
            place = f"{shown_file(deciding.rule.file)}:{deciding.rule.line}"
            reasons = [f"rule {deciding.rule.id} ({place}) asks for status {status}"]
            # Variables of TX are the rules' own sums and settings: the test on them says why.
            for applied in deciding.applied:
                if applied.collection == "TX":
                    reasons.append(
                        f"{self._text(variable_of(applied).encode())} is {self._text(applied.text)}, "
                        f"the rule asks for {_operator(applied)} {self._text(applied.argument)}"
                    )
            return reasons
        if decision.would is Outcome.BLOCK:
            if decision.source == "denied":
                return ["no rule: the policy's ip.deny refuses the client"]
            return [f"no rule: the engine itself refuses with status {self._explanation.verdict.status or 413}"]
        if decision.mode is Mode.OFF:
            return ["nothing was inspected"]
        reasons = ["no rule denies"]
        reasons += [
            f"{threshold.variable} is {self._text(threshold.value or b'not set')}, rule {threshold.rule.id} asks for "
            f"@{threshold.operator} {self._text(threshold.argument)}"
            for threshold in self._explanation.thresholds
            if threshold.rule.phase <= Phase.REQUEST_BODY
        ]
        return reasons

    def _policies(self) -> list[str]:
        decision = self._explanation.decision
        told = [f"policies that hold: {', '.join(decision.policies)}"] if decision.policies else []
        if decision.source is not None:
            told.append(f"the client's address is {decision.source} by the policy")
        return told + [
            f"{place}: this exclusion is expired; what it hides is told" for place in decision.expired_exclusions
        ]

    def _mode(self, source: str) -> str:
        explanation, effective = self._explanation, self._explanation.decision.mode
        meaning = {
            Mode.BLOCK: "what the rules deny is blocked",
            Mode.SAFE_BLOCK: "what the rules deny is blocked for suspicious clients, reported for others",
            Mode.MONITOR: "nothing is blocked, only reported",
            Mode.OFF: "nothing is inspected",
        }[effective]
        if effective is explanation.asked_mode:
            why = source
        elif effective is Mode.weakest(explanation.asked_mode, explanation.ruleset_mode):
            why = f"SecRuleEngine of the rules is weaker than {explanation.asked_mode} ({source})"
        elif self._explanation.decision.policies:
            why = f"weakened for this request, by the policy or by ctl:ruleEngine; asked for {explanation.asked_mode}"
        else:
            why = "a rule weakened it for this request: ctl:ruleEngine"
        return f"mode {effective}: {meaning} ({why})"

    def _rule(self, firing: Firing) -> dict[str, Any]:
        rule = firing.rule
        msg = ""
        if rule.msg is not None:
            # Without macros it is the rule author's text: "basic SQL" is no credential.
            msg = _plain(rule.msg.source) if rule.msg.is_constant else self._text(self._msgs.get(rule.id, b""))
        return {**_place(firing), "msg": msg, "severity": rule.severity}

    def _match(self, firing: Firing) -> dict[str, Any]:
        rule = firing.rule
        return {
            **self._rule(firing),
            "tags": list(rule.tags),
            "is_logged": rule.is_logged,
            "is_complete": firing.is_complete,
            "score": [
                {"variable": "TX:" + self._text(score.name), "before": self._text(score.before)}
                | {"after": self._text(score.after), "gain": score.gain}
                for score in firing.scores
            ],
            "controls": [self._text(_control(firing, number)) for number in range(len(rule.controls))],
            "variables": [self._applied(firing, applied) for applied in firing.applied[:MAX_VARIABLES]],
            "variables_left_out": max(len(firing.applied) - MAX_VARIABLES, 0),
        }

    def _applied(self, firing: Firing, applied: Applied) -> dict[str, Any]:
        variable = variable_of(applied)
        shows = self._shown(variable, applied)
        span = applied.span
        is_open = span is not None and not self._scrubber.hides(
            Match(firing.rule.id, firing.rule.phase, variable, value=applied.text, span=span)
        )
        evidence = applied.captures.evidence if isinstance(applied.captures, Detected) else None
        matched: dict[str, Any] | None = None
        if span is not None:
            part = self._text(applied.text[slice(*span)]) if is_open else MASK.decode()
            matched = {"text": part, "start": span[0], "end": span[1]}
        return {
            "variable": self._scrubber.variable(variable),
            "link": (firing.rule, *firing.rule.chain).index(applied.link),
            "sent": shows(applied.sent) if applied.sent is not None else None,
            "steps": [{"transformation": step.name, "text": shows(step.text)} for step in applied.steps],
            "text": shows(applied.text),
            "operator": _operator(applied),
            "argument": self._argument(applied),
            "matched": matched,
            "reason": evidence.finding.reason if evidence is not None else "",
            "context": evidence.finding.context if evidence is not None else "",
            "score": evidence.finding.score if evidence is not None else 0,
        }

    def _shown(self, variable: str, applied: Applied) -> Callable[[bytes], str]:
        """How to write the texts of one match: all hidden if the variable is secret, else what holds no secret.

        If one text on the way holds a secret and another shows none, that one may hold it in another spelling.
        """
        if self._masking.is_enabled and self._masking.is_secret_variable(variable):
            return lambda _: MASK.decode()
        texts = _texts(applied)
        with_secrets = {text for text in texts if self._scrubber.text(text) != text[:MAX_SCANNED_BYTES]}

        def show(text: bytes) -> str:
            if with_secrets and text not in with_secrets and self._masking.is_enabled:
                return MASK.decode()
            return self._text(text)

        return show

    def _argument(self, applied: Applied) -> str:
        """As the rule file says it; masked only where macros brought in something of the request."""
        if applied.link.dynamic is None:
            return _plain(applied.argument)
        return self._text(applied.argument)

    def _exclusion(self, proposal: Proposal) -> dict[str, Any]:
        exclusion = proposal.exclusion
        is_open = self._scrubber.text(exclusion.path) == exclusion.path
        return {
            "rule": exclusion.rule_id,
            "variable": None if exclusion.place is None else _name(exclusion.place.collection, exclusion.place.key),
            "seclang": exclusion.seclang.decode("utf-8", "backslashreplace") if is_open else MASK.decode(),
            "proved": proposal.is_proved,
        }

    def _account(self) -> dict[str, int]:
        account = self._explanation.account
        return {
            "rules": account.rules,
            "rules_gated": account.gated,
            "rules_direct": account.direct,
            "values": account.values,
            "pairs": account.pairs,
            "named": account.named,
            "run": account.run,
            "spared": account.pairs - account.run,
        }

    def _text(self, text: bytes) -> str:
        return _plain(self._scrubber.text(text))


def _plain(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")


def variable_of(applied: Applied) -> str:
    """`ARGS:q`, `&ARGS`; `-` for a rule that looks at nothing (SecAction)."""
    return ("&" if applied.is_count else "") + (_name(applied.collection, applied.key) or "-")


def _name(collection: str, key: bytes | None) -> str:
    return collection if key is None else f"{collection}:{key.decode('utf-8', 'backslashreplace')}"


def _texts(applied: Applied) -> list[bytes]:
    texts = [step.text for step in applied.steps]
    return [*([applied.sent] if applied.sent is not None else []), *texts, applied.text]


def _place(firing: Firing) -> dict[str, Any]:
    rule = firing.rule
    return {"id": rule.id, "file": shown_file(rule.file), "line": rule.line, "phase": int(rule.phase)}


def shown_file(file: str) -> str:
    """The shorter of both ways to say where a file is: from here, or from the root."""
    return min(os.path.relpath(file), file, key=len)


def _operator(applied: Applied) -> str:
    link = applied.link
    if link.operator is None and link.dynamic is None:
        return ""
    name = link.operator.name if link.operator is not None else ""
    if link.dynamic is not None:
        name = link.dynamic(applied.argument).name
    return f"{'!' if link.is_negated else ''}@{name}"


def _threshold(threshold: Threshold) -> dict[str, Any]:
    return {
        "rule": threshold.rule.id,
        "variable": threshold.variable,
        "value": threshold.value.decode("utf-8", "backslashreplace"),
        "operator": f"@{threshold.operator}",
        "argument": threshold.argument.decode("utf-8", "backslashreplace"),
    }


def _control(firing: Firing, number: int) -> bytes:
    control = firing.rule.controls[number]
    target = b";" + control.target.text.encode() if isinstance(control.target, Target) else b""
    return control.name.encode() + b"=" + control.argument + target
