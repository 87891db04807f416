"""A summary in plain lines, for a terminal."""

from __future__ import annotations

from extproc.review.summary import Summary

SHOWN_RULES, SHOWN_ALARMS, SHOWN_ROUTES = 8, 8, 6
LIKELY = 0.6
"""From this likelihood on a place is shown as a likely false alarm."""


def lines(summary: Summary, events: str, width: int = 120) -> list[str]:
    """`events`: how the user named the file, for the commands that are proposed."""
    blocked = summary.verdicts.get("block", 0)
    passed_though = summary.would_block - blocked
    told = [f"{summary.requests} requests, {blocked} blocked"]
    if passed_though > 0:
        told.append(f"{passed_though} more would be in mode block")
    modes = ", ".join(f"{mode} {number}" for mode, number in summary.modes.most_common())
    found = [f"{'; '.join(told)} (mode: {modes or 'none'})"]
    p50, p99 = summary.quantile_us(0.5), summary.quantile_us(0.99)
    if p50 is not None and p99 is not None:
        found.append(f"inspection: p50 {p50 / 1000:.1f} ms, p99 {p99 / 1000:.1f} ms")
    incomplete = sum(summary.incomplete.values())
    if summary.requests:
        share = 100 * (1 - incomplete / summary.requests)
        reasons = "; ".join(f"{number} {reason}" for reason, number in summary.incomplete.most_common(3))
        found.append(f"inspected whole: {share:.2f} %" + (f" ({reasons})" if reasons else ""))
    if len(summary.routes) > 1:
        routes = summary.routes.most_common(SHOWN_ROUTES)
        found.append("routes: " + ", ".join(f"{route} {number}" for route, number in routes))
    if summary.rules:
        found += ["", "rules that matched:"]
        for rule_id, number in summary.rules.most_common(SHOWN_RULES):
            found.append(f"  {number:>6}  {rule_id}  {summary.messages.get(rule_id, '')}")
    alarms = summary.alarms()
    likely = [alarm for alarm in alarms if alarm.likelihood >= LIKELY]
    for title, chosen in (
        ("likely false alarms:", likely),
        ("the rest:" if likely else "where rules matched:", [one for one in alarms if one not in likely]),
    ):
        if not chosen:
            continue
        found += ["", title]
        for alarm in chosen[:SHOWN_ALARMS]:
            rules = ", ".join(map(str, alarm.rule_ids))
            who = f"{len(alarm.clients)} client{'s' if len(alarm.clients) != 1 else ''}"
            found.append(
                f"  {alarm.requests:>6}  {alarm.method} {alarm.path}  {alarm.variable}  rules {rules}  {who}, "
                f"{alarm.denied} denied"
            )
            found.append(f"          extproc allow {alarm.incident} --events {events} --policy POLICY.yaml")
        if len(chosen) > SHOWN_ALARMS:
            found.append(f"          and {len(chosen) - SHOWN_ALARMS} more places (--json has all)")
    return [line if len(line) <= width else f"{line[: width - 3]}..." for line in found]
