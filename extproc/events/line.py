"""Decision → one line for a person at a terminal."""

from __future__ import annotations

from extproc.events.masking import MASK, Masking
from extproc.events.scrubber import Scrubber
from extproc.model.verdict import Decision, Match, Outcome

MAX_SHOWN_CHARS = 120
"""Of a path, a message or a matched part; the rest is an ellipsis."""

_DEFAULT = Masking()


def human(decision: Decision, masking: Masking = _DEFAULT, scrubber: Scrubber | None = None) -> str:
    """`block 403 GET /a?q=1 route=shop rule 942100 "SQL injection" in ARGS:q matched "1 or 1=1" 412 us incident 7f...`

    Several matches end in `(+2 more)`. No newline at the end. Control characters are escaped: a
    request cannot paint the terminal. `scrubber`: of this decision.
    """
    scrubber = scrubber or Scrubber(masking, decision)
    words = [_verdict(decision), _shown(scrubber.text(decision.method)), _shown(scrubber.text(decision.path))]
    if decision.route:
        route = scrubber.place(decision.route.encode("utf-8", "surrogateescape"))
        words.append(f"route={_shown(route)}")
    if decision.source:
        words.append(f"client {decision.client} is {decision.source}")
    match = _telling(decision)
    if match is not None:
        part = MASK if scrubber.hides(match) else scrubber.text(match.value[match.span[0] : match.span[1]])
        words += [
            f"rule {match.rule_id}",
            f'"{_shown(scrubber.msg(match))}"' if match.msg else "",
            f"in {_shown(scrubber.variable(match.variable).encode())}" if match.variable else "",
            f'matched "{_shown(part)}"' if part else "",
            f"(+{len(decision.matches) - 1} more)" if len(decision.matches) > 1 else "",
        ]
    if decision.expired_exclusions:
        words.append(f"an expired exclusion hides a match ({_shown(decision.expired_exclusions[0].encode())})")
    if decision.shadow is not None and decision.shadow.would is not decision.would:
        words.append(f"shadow rules: {decision.shadow.would.value}")
    if decision.coverage_reason:
        words.append(f"{decision.coverage.value}: {decision.coverage_reason}")
    words += [f"{decision.duration_us} us", f"incident {decision.incident}"]
    return " ".join(word for word in words if word)


def _verdict(decision: Decision) -> str:
    if decision.verdict is Outcome.BLOCK:
        return f"block {decision.status}"
    if decision.would is Outcome.BLOCK:
        return f"{decision.verdict.value} (would block)"
    return decision.verdict.value


def _telling(decision: Decision) -> Match | None:
    """The match that says most: of the rule that decided, unless it only compared scores (TX)."""
    telling = [match for match in decision.matches if match.msg and not match.variable.upper().startswith("TX:")]
    decided = [match for match in telling if match.rule_id == decision.rule_id]
    return next(iter(decided or telling or decision.matches), None)


def _shown(text: bytes) -> str:
    shown = text[: 4 * MAX_SHOWN_CHARS].decode("utf-8", "backslashreplace")
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in shown)
    return shown if len(shown) <= MAX_SHOWN_CHARS else shown[: MAX_SHOWN_CHARS - 1] + "…"
