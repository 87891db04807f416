"""docs/RULES.md out of own.conf and its table. `python tests/seclang/rules/rules_page.py` writes it anew."""

from __future__ import annotations

import re
from typing import Any

from own_cases import OWN_RULES, ROOT, TABLE, Engine

from extproc.engine.ruleset import Rule

PAGE = ROOT / "docs" / "RULES.md"

INTRODUCTION = """# The own rules

What a stranger runs by default: `--profile own`, the file `extproc/rules/own.conf`. SecLang like any other, so every
rule can be changed, excluded or left out by its id (`extproc explain` writes the exclusion).

A match adds points: CRITICAL 5, ERROR 4, WARNING 3. At 5 points the request is denied with 403, so one critical match
is enough. Rules with a status of their own deny at once.

For each rule: where it looks, what it undoes before it looks, a text that it matches and a harmless one that no rule
matches. Both are tested in several places (query, form, JSON, cookie, header, path), beside more of their kind:
`tests/seclang/rules/own.yaml`. This page is made of that file by `tests/seclang/rules/rules_page.py`.
"""

SECTIONS = {
    71001: "Protocol",
    71002: "SQL and database injection",
    71003: "Script injection",
    71004: "Paths",
    71005: "Commands and code",
    71006: "Lookups, expressions, entities",
    71007: "Server-side requests",
    71008: "Scanners",
}
"""Ids without their last two digits."""


def page(engine: Engine) -> str:
    """The whole page, Markdown."""
    rules = {rule.id: rule for rule in engine.plan.rules}
    parts = [INTRODUCTION]
    section = 0
    for number in sorted(TABLE):
        if number // 100 != section:
            section = number // 100
            parts.append(f"## {SECTIONS[section]}\n")
        parts.append(_entry(rules[number], TABLE[number]))
    return "\n".join(parts)


def _entry(rule: Rule, row: dict[str, Any]) -> str:
    assert rule.msg is not None
    links = (rule, *rule.chain)
    targets = ", then ".join(", ".join(_code(target.text) for target in link.targets) for link in links)
    left_out = "".join(f", not {_code(target.text.removeprefix('!'))}" for target in rule.exclusions)
    undone = ", ".join(_code(transformation.name) for transformation in rule.transformations)
    every = " (looked at after every step)" if rule.is_multi_match else ""
    denies = f", denies with {rule.disruptive.status}" if rule.disruptive and rule.disruptive.name == "deny" else ""
    lines = [
        f"### {rule.id} {rule.msg.source.decode()}",
        "",
        f"- {rule.severity}{denies}, phase {rule.phase:d}; looks at {targets}{left_out}",
        *([f"- undoes {undone}{every}"] if undone else []),
        f"- matches {_code(_first(row, 'match'))}",
        f"- passes {_code(_first(row, 'miss'))}",
        *([f"- {row['note']}"] if "note" in row else []),
        "",
    ]
    return "\n".join(lines)


def _first(row: dict[str, Any], kind: str) -> str:
    texts = [*row.get(kind, ()), *row.get("raw", {}).get(kind, ())]
    return str(texts[0])


def _code(text: str) -> str:
    """A code span; line breaks and the like are written as escapes."""
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


if __name__ == "__main__":
    PAGE.write_text(page(Engine()), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} made of {OWN_RULES.relative_to(ROOT)}")
