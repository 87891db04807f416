"""Rule text → statements, with chains joined; every mistake of a file is found in one go.

A mistake never hides the next one: the broken part is left out, reading goes on, and the caller
gets all findings together. Ids are compared over all files by `duplicate_ids`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from extproc.model.errors import SecLangError, SecLangErrors
from extproc.seclang.actions import parse_actions, rule_id
from extproc.seclang.directives import DIRECTIVES, check_syntax
from extproc.seclang.lexer import LexError, Line, Word, logical_lines, words
from extproc.seclang.syntax import Directive, Marker, OperatorCall, Rule, Statement
from extproc.seclang.variables import parse_variables
from extproc.seclang.vocabulary import ACTIONS, STARTER_ONLY, nearest

MAX_CHAIN_LINKS = 64
"""Rules of one chain. The longest of the Core Rule Set has seven."""

_TRANSPARENT_BLOCKS = frozenset({b"<ifmodule security2_module>", b"<ifmodule mod_security2.c>", b"</ifmodule>"})
"""Apache blocks that hold for every file of rules; any other block would narrow what is inside."""


def parse(source: bytes, file: str = "-") -> list[Statement]:
    """The statements of one text. Raises SecLangErrors with every finding, in line order."""
    statements, findings = read(source, file)
    findings += duplicate_ids(statements)
    if findings:
        raise SecLangErrors(sorted(findings, key=lambda finding: finding.line))
    return statements


def read(source: bytes, file: str) -> tuple[list[Statement], list[SecLangError]]:
    """The statements of one text that could be read, and what is wrong with the others.

    Duplicate ids are not looked for: that takes all files (`duplicate_ids`).
    """
    reader = _Reader(file)
    for line in logical_lines(source):
        reader.take(line)
    reader.finish_chain()
    return reader.statements, reader.findings


def duplicate_ids(statements: Iterable[Statement]) -> list[SecLangError]:
    """One finding per rule whose id an earlier rule has; it names both places."""
    first: dict[int, Rule] = {}
    findings = []
    for statement in statements:
        if not isinstance(statement, Rule):
            continue
        for action in statement.actions:
            if action.name != "id" or action.value is None:
                continue
            number = rule_id(action.value)
            earlier = first.setdefault(number, statement)
            if earlier is not statement:
                message = f"id {number} is taken by the rule at {earlier.file}:{earlier.line}: give one of them another"
                findings.append(SecLangError(statement.file, statement.line, message))
    return findings


class _Reader:
    """Takes line after line; `chain` is the chain whose next link is due."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.statements: list[Statement] = []
        self.findings: list[SecLangError] = []
        self.chain: list[Rule] = []
        self.is_resyncing = False
        self.is_after_broken_rule = False  # what follows may be a link whose starter was lost

    def take(self, line: Line) -> None:
        if self.is_resyncing and not _starts_directive(line.text):
            return
        self.is_resyncing = False
        report = self._reporter(line.number)
        if line.text.startswith(b"<"):
            _check_block(line.text, report)
            return
        try:
            found = words(line)
        except LexError as error:
            self._lost(line, str(error))
            return
        name = found[0].text.decode("ascii", "backslashreplace")
        known = DIRECTIVES.get(name.lower())
        if known is None:
            report(f"unknown directive {name[:80]}{nearest(name, (row.name for row in DIRECTIVES.values()))}")
            return
        arguments = found[1:]
        if known.name not in ("SecRule", "SecAction"):
            self.finish_chain(f"{known.name} at line {line.number} comes first")
        least, most = known.least, known.most
        if len(arguments) < least or (most is not None and len(arguments) > most):
            wanted = str(least) if least == most else f"{least} or more" if most is None else f"{least} to {most}"
            report(
                f"{known.name} takes {wanted} argument{'' if wanted == '1' else 's'}, here are {len(arguments)}: "
                "quote an argument that holds blanks"
            )
            if known.name in ("SecRule", "SecAction"):
                self._drop_chain()
        elif known.name in ("SecRule", "SecAction"):
            self._take_rule(self._rule(line, known.name, arguments, report), line, report)
        elif known.name == "SecMarker":
            self.statements.append(Marker(self.file, line.number, arguments[0].text))
        else:
            directive = Directive(self.file, line.number, known.name, tuple(word.text for word in arguments))
            for problem in check_syntax(directive):
                report(problem)
            self.statements.append(directive)

    def finish_chain(self, because: str = "the file ends first") -> None:
        """What is due when no link can follow any more."""
        if not self.chain:
            return
        starter, last = self.chain[0], self.chain[-1]
        self.findings.append(
            SecLangError(self.file, last.line, f"chain without a next rule ({because}): add the rule or remove chain")
        )
        self.statements.append(replace(starter, links=tuple(self.chain[1:])))
        self.chain.clear()

    def _lost(self, line: Line, message: str) -> None:
        # What follows a missing quote is the inside of a text: go on at the next directive.
        self._reporter(line.number)(message)
        self.is_resyncing = True
        self._drop_chain()

    def _drop_chain(self) -> None:
        self.chain.clear()
        self.is_after_broken_rule = True

    def _rule(self, line: Line, name: str, arguments: list[Word], report: Callable[[str], None]) -> Rule:
        if name == "SecAction":
            actions = parse_actions(arguments[0].text, report)
            return Rule(self.file, line.number, (), None, actions)
        variables = parse_variables(arguments[0].text, report)
        if variables and all(variable.is_exclusion for variable in variables):
            report("every target is an exclusion, so the rule looks at nothing: add what it should look at")
        operator = _operator(arguments[1].text)
        if not operator.name:
            report("an operator name is missing after @: write @rx, or \\@ for the sign itself")
        actions = parse_actions(arguments[2].text, report) if len(arguments) > 2 else ()
        return Rule(self.file, line.number, variables, operator, actions)

    def _take_rule(self, rule: Rule, line: Line, report: Callable[[str], None]) -> None:
        has_chain = any(action.name == "chain" for action in rule.actions)
        if has_chain:
            rule = replace(rule, actions=tuple(action for action in rule.actions if action.name != "chain"))
        if self.chain:
            for action in rule.actions:
                if action.name in STARTER_ONLY:
                    spelling = ACTIONS[action.name][0]
                    report(
                        f"{spelling} stands on the first rule of a chain (line {self.chain[0].line}), not on its links"
                    )
        elif any(action.name == "id" for action in rule.actions):
            self.is_after_broken_rule = False
        elif not self.is_after_broken_rule and not self._has_finding_about_id(line.number):
            report("the rule has no id: add id:N with a number that no other rule has")
        if has_chain and len(self.chain) >= MAX_CHAIN_LINKS:
            report(f"a chain of more than {MAX_CHAIN_LINKS} rules: split it")
            has_chain = False
        self.chain.append(rule)
        if not has_chain:
            starter, *links = self.chain
            self.statements.append(replace(starter, links=tuple(links)) if links else starter)
            self.chain.clear()

    def _has_finding_about_id(self, line: int) -> bool:
        return any(finding.line == line and finding.message.startswith("id:") for finding in self.findings)

    def _reporter(self, line: int) -> Callable[[str], None]:
        return lambda message: self.findings.append(SecLangError(self.file, line, message))


def _starts_directive(text: bytes) -> bool:
    return text[:3].lower() == b"sec" or text[:7].lower() == b"include"


def _check_block(text: bytes, report: Callable[[str], None]) -> None:
    if b" ".join(text.lower().split()) not in _TRANSPARENT_BLOCKS:
        shown = text[:60].decode("utf-8", "backslashreplace")
        report(f"{shown} is a block of Apache, which is not here: scope rules by REQUEST_FILENAME and ctl instead")


def _operator(text: bytes) -> OperatorCall:
    stripped = text.lstrip()
    is_negated = stripped.startswith(b"!")
    rest = stripped[1:].lstrip() if is_negated else stripped
    if not rest.startswith(b"@"):
        # Without @ it is @rx and blanks count: " a" is not "a".
        return OperatorCall("rx", is_negated, stripped[1:] if is_negated else text)
    name, *argument = rest[1:].split(None, 1) if rest[1:2].strip() else [b""]
    return OperatorCall(name.decode("ascii", "backslashreplace"), is_negated, argument[0] if argument else b"")
