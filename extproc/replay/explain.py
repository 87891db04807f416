"""Why was this request answered so? The request runs through the engine once, looked on; the rest is told from notes.

There is no second matcher: `explain_watch` writes down what the live code does. Exclusions are proved by
running the request again, with them in front of the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from extproc.engine.plan import Plan
from extproc.engine.ruleset import Rule
from extproc.engine.transaction import SCORES
from extproc.engine.treatment import Treat
from extproc.model.phase import Phase
from extproc.model.verdict import Decision, Mode, Outcome, Verdict
from extproc.replay.explain_exclusion import Exclusion, Place, free_ids, is_evaluation, places_of
from extproc.replay.explain_watch import Firing, Watched, WatchedTransaction, watch
from extproc.replay.http1 import Request

MAX_ROUNDS = 4
"""Runs to prove exclusions. A rule that was hidden behind an earlier block comes to light in the next round."""

MAX_EXCLUSIONS = 50
"""Exclusions proposed for one request; a request that needs more is no false alarm."""

MakePlan = Callable[[bytes], Plan]
"""SecLang to stand before the rules → a fresh plan of both."""

MakeTreat = Callable[[Plan], Treat | None]
"""A plan → how a policy treats requests under it; None without a policy."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """A rule that denies from some score on, and how far the request got."""

    rule: Rule
    variable: str
    value: bytes
    operator: str
    argument: bytes


@dataclass(frozen=True, slots=True)
class Account:
    """What the prefilter spared, in pairs of a rule and a value that it applies to.

    `direct` rules have no values to scan (counts, TX, SecAction): they always run. `gated` rules were
    left out by a skip on a setting (paranoia level) before they cost anything.
    """

    rules: int = 0
    gated: int = 0
    direct: int = 0
    values: int = 0
    pairs: int = 0
    named: int = 0
    run: int = 0


@dataclass(frozen=True, slots=True)
class Proposal:
    """An exclusion, and whether the rule was silent there when the request ran with it."""

    exclusion: Exclusion
    is_proved: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """All there is to say. `told`: the rules that report, score, decide or control the engine; `silent`: the others.

    `ruleset_mode` is SecRuleEngine's; `decision.mode` is what held in the end, ctl:ruleEngine included. `cured` is what
    the rules would say with all proposals in front of them; None if there is nothing to cure.
    """

    request: Request
    asked_mode: Mode
    ruleset_mode: Mode
    verdict: Verdict
    decision: Decision
    told: tuple[Firing, ...]
    silent: tuple[Firing, ...]
    deciding: Firing | None
    thresholds: tuple[Threshold, ...]
    account: Account
    proposals: tuple[Proposal, ...]
    cured: Outcome | None


def explain(
    make_plan: MakePlan, mode: Mode, request: Request, make_treat: MakeTreat = lambda plan: None
) -> Explanation:
    """Run the request and say what happened; prove an exclusion for each match by running it again."""
    plan = make_plan(b"")
    watched = watch(plan, mode, request, make_treat(plan))
    firings = watched.transaction.firings
    told = tuple(firing for firing in firings if _is_telling(firing))
    proposals, cured = _prove(make_plan, plan, mode, request, watched, make_treat)
    return Explanation(
        request=request,
        asked_mode=mode,
        ruleset_mode=plan.ruleset.mode,
        verdict=watched.verdict,
        decision=watched.decision,
        told=told,
        silent=tuple(firing for firing in firings if not _is_telling(firing)),
        deciding=watched.transaction.deciding,
        thresholds=_thresholds(plan, watched.transaction),
        account=_account(plan, watched.transaction),
        proposals=proposals,
        cured=cured,
    )


def _is_telling(firing: Firing) -> bool:
    rule = firing.rule
    if firing.is_complete and (firing.interruption is not None or rule.is_logged or rule.controls):
        return True
    return bool(firing.scores) and not is_evaluation(firing) and rule.phase is not Phase.LOGGING


def _thresholds(plan: Plan, transaction: WatchedTransaction) -> tuple[Threshold, ...]:
    found = []
    for rule in plan.rules:
        argument, operator = rule.dynamic_argument, rule.dynamic
        if rule.disruptive is None or rule.disruptive.name in ("pass", "allow") or rule.chain or len(rule.targets) != 1:
            continue
        target = rule.targets[0]
        if argument is None or operator is None or target.collection != "TX" or target.key not in SCORES:
            continue
        expanded = argument.expand(transaction.lookup)
        value = transaction.lookup("TX", target.key)
        found.append(Threshold(rule, target.text, value, operator(expanded).name, expanded))
    return tuple(found)


def _account(plan: Plan, transaction: WatchedTransaction) -> Account:
    rules = gated = direct = values = pairs = named = run = 0
    for segment in transaction.runs:
        reach = segment.variant.reach
        rules += segment.rules
        gated += segment.rules - reach.bit_count()
        direct += segment.variant.direct.bit_count()
        for collection, found in zip(segment.variant.collections, segment.values, strict=True):
            for key, value in found:
                value_class, _ = collection.info(key)
                if value_class is None:
                    continue
                masks = value_class.account(value)
                values += 1
                pairs += masks[0].bit_count()
                named += masks[1].bit_count()
                run += masks[2].bit_count()
    return Account(rules, gated, direct, values, pairs, named, run)


# Exclusions


def _prove(
    make_plan: MakePlan, plan: Plan, mode: Mode, request: Request, watched: Watched, make_treat: MakeTreat
) -> tuple[tuple[Proposal, ...], Outcome | None]:
    path = watched.transaction.lookup("REQUEST_FILENAME", None)
    exclusions: dict[tuple[int, Place | None], Exclusion] = {}
    ids = iter(free_ids(plan, MAX_EXCLUSIONS))
    seen = watched
    for _ in range(MAX_ROUNDS):
        wanted = [key for key in _still_matching(seen) if key not in exclusions]
        # Excluding the variable was not enough: nothing is left but the whole rule.
        stubborn = [(rule_id, None) for rule_id, place in _still_matching(seen) if (rule_id, place) in exclusions]
        for rule_id, place in (*wanted, *stubborn):
            if (rule_id, place) not in exclusions and (number := next(ids, None)) is not None:
                exclusions[(rule_id, place)] = Exclusion(number, rule_id, path, place)
        if not wanted and not stubborn:
            break
        text = b"".join(exclusion.seclang + b"\n" for exclusion in exclusions.values())
        mended = make_plan(text)
        seen = watch(mended, mode, request, make_treat(mended))
    if not exclusions:
        return (), None
    broad = {rule_id for rule_id, place in exclusions if place is None}
    left = set(_still_matching(seen))
    proposals = [
        Proposal(exclusion, is_proved=not any(one[0] == rule_id and place in (None, one[1]) for one in left))
        for (rule_id, place), exclusion in exclusions.items()
        if place is None or rule_id not in broad
    ]
    return tuple(proposals), seen.decision.would


def _still_matching(watched: Watched) -> list[tuple[int, Place | None]]:
    """(rule, variable) of each match that has to go; None: a rule without a variable of the request."""
    found: dict[tuple[int, Place | None], None] = {}
    for firing in watched.transaction.firings:
        is_harmful = firing.is_complete and (firing.rule.is_logged or firing.interruption is not None)
        if not (is_harmful or any(score.gain > 0 for score in firing.scores)):
            continue
        if is_evaluation(firing) or firing.rule.phase is Phase.LOGGING:
            continue
        for place in places_of(firing) or (None,):
            found.setdefault((firing.rule.id, place))
    return list(found)
