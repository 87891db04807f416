"""Step 4d, compile: statements → rules the engine runs. Names are looked up, patterns compiled, jumps resolved.

All findings are collected; one finding and nothing is loaded. Removals and updates (SecRuleRemoveById, ...)
act on the rules that stand before them, as the manual says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from extproc.actions.control import Control as EngineControl
from extproc.actions.macro import MacroText
from extproc.actions.setvar import Assignment, ExpireVar, InitCollection
from extproc.actions.setvar import SetVar as EngineSetVar
from extproc.engine.ruleset import Disruptive, Rule, Target
from extproc.model.errors import SecLangError, SecLangErrors
from extproc.model.phase import Phase
from extproc.operators.contract import Compile, Operator
from extproc.operators.registry import OPERATORS
from extproc.operators.rx import compile_rx
from extproc.seclang import directives, syntax
from extproc.seclang.actions import control as parse_control
from extproc.seclang.actions import phase as parse_phase
from extproc.seclang.actions import set_var as parse_set_var
from extproc.seclang.actions import severity as parse_severity
from extproc.seclang.ids import parse_id_ranges
from extproc.seclang.literal_store import LiteralStore
from extproc.seclang.vocabulary import nearest
from extproc.transformations.contract import Transformation
from extproc.transformations.registry import TRANSFORMATIONS

DEFAULT_PHASE = Phase.REQUEST_BODY
"""Phase of a rule that names none (manual, *phase*)."""

DEFAULT_STATUS = 403
"""Status of a denial that names none (manual, *status*)."""

DYNAMIC_OPERATORS = 256
"""Operators kept compiled per rule whose argument has macros; more start anew."""

_ASSIGNMENTS = {"=": Assignment.SET, "+": Assignment.ADD, "-": Assignment.SUBTRACT, "!": Assignment.UNSET}
_MACRO = re.compile(rb"%\{[^{}]+\}")
_TARGET_UPDATES = {"SecRuleUpdateTargetById", "SecRuleUpdateTargetByTag", "SecRuleUpdateTargetByMsg"}
_REMOVALS = {"SecRuleRemoveById", "SecRuleRemoveByTag", "SecRuleRemoveByMsg"}

ReadFile = Callable[[Path], bytes]


class _Context:
    """What operators may ask for: files beside the rule file, and somewhere to leave a notice."""

    def __init__(self, file: str, line: int, read: ReadFile, notices: list[str]) -> None:
        self._file, self._line = file, line
        self._read = read
        self._notices = notices

    def read_file(self, name: bytes) -> bytes:
        """A file named relative to the rule file."""
        return self._read(Path(self._file).parent / name.decode("utf-8", "surrogateescape"))

    def notice(self, text: str) -> None:
        """Shown at load with the place of the rule."""
        self._notices.append(f"{self._file}:{self._line}: {text}")


class _Problem(Exception):  # noqa: N818 - carries a finding out of one rule, never leaves this module
    pass


class Compiler:
    """Compiles the statements of one rule set, in order."""

    def __init__(self, read: ReadFile, literals: LiteralStore) -> None:
        self._read = read
        self._literals = literals
        self._operators: dict[tuple[str, bytes, str], Operator] = {}
        self._defaults: dict[Phase, tuple[syntax.Action, ...]] = {}
        self._rules: dict[Phase, list[Rule]] = {phase: [] for phase in Phase}
        self._markers: list[tuple[bytes, dict[Phase, int]]] = []
        self.findings: list[SecLangError] = []
        self.notices: list[str] = []

    def compile(self, statements: Iterable[syntax.Statement]) -> dict[Phase, tuple[Rule, ...]]:
        """Rules by phase, indexed across phases. Raises SecLangErrors with every finding."""
        for statement in statements:
            try:
                if isinstance(statement, syntax.Rule):
                    self._add(statement)
                elif isinstance(statement, syntax.Marker):
                    self._markers.append((statement.name, {phase: len(self._rules[phase]) for phase in Phase}))
                else:
                    self._direct(statement)
            except (_Problem, ValueError) as problem:
                # A ValueError is a statement that was found wrong when it was read, and is told as that.
                self.findings.append(SecLangError(statement.file, statement.line, str(problem)))
        if self.findings:
            raise SecLangErrors(self.findings)
        return self._link()

    # Rules

    def _add(self, source: syntax.Rule) -> None:
        actions = source.actions
        phase = DEFAULT_PHASE
        for action in actions:
            if action.name == "phase" and action.value is not None:
                phase = Phase(parse_phase(action.value))
        starter = self._rule(source, phase, None)
        starter.chain = tuple(self._rule(link, phase, starter.id) for link in source.links)
        self._rules[phase].append(starter)

    def _rule(self, source: syntax.Rule, phase: Phase, starter_id: int | None) -> Rule:
        defaults = self._defaults.get(phase, ())
        rule = Rule(
            id=starter_id or 0,
            phase=phase,
            file=source.file,
            line=source.line,
            targets=(),
            exclusions=(),
            operator=None,
        )
        rule.targets, rule.exclusions = self._targets(source, source.variables)
        self._set_actions(rule, source, source.actions, defaults if starter_id is None else _transformations(defaults))
        if starter_id is not None:
            rule.disruptive = None
        if source.operator is not None:
            self._set_operator(rule, source, source.operator)
        return rule

    def _targets(
        self, source: syntax.Rule | syntax.Directive, variables: Iterable[syntax.Variable]
    ) -> tuple[tuple[Target, ...], tuple[Target, ...]]:
        wanted: list[Target] = []
        excluded: list[Target] = []
        for variable in variables:
            target = self._target(source, variable)
            (excluded if variable.is_exclusion else wanted).append(target)
        return tuple(dict.fromkeys(wanted)), tuple(dict.fromkeys(excluded))

    def _target(self, source: syntax.Rule | syntax.Directive, variable: syntax.Variable) -> Target:
        text = syntax.render_variable(variable).decode("latin-1")
        if variable.key_pattern is not None:
            try:
                operator = compile_rx(b"(?i)" + variable.key_pattern, self._context(source))
            except ValueError as error:
                raise _Problem(f"{text}: {error}") from error
            return Target(variable.collection, None, operator.test, variable.is_count, text)
        key = variable.key.lower() if variable.key is not None else None
        return Target(variable.collection, key, None, variable.is_count, text)

    def _context(self, source: syntax.Rule | syntax.Directive) -> _Context:
        return _Context(source.file, source.line, self._read, self.notices)

    def _set_operator(self, rule: Rule, source: syntax.Rule, call: syntax.OperatorCall) -> None:
        name = call.name.lower()
        compile_operator = OPERATORS.get(name)
        if compile_operator is None:
            raise _Problem(f"unknown operator @{call.name}{nearest(call.name, OPERATORS)}")
        rule.is_negated = call.is_negated
        context = self._context(source)
        if _MACRO.search(call.argument):
            argument = MacroText(call.argument)
            if not argument.is_constant:
                rule.dynamic_argument = argument
                rule.dynamic = _DynamicOperator(compile_operator, context)
                return
        # Operators that read files depend on where the rule stands.
        place = str(Path(source.file).parent) if "file" in name or name in ("pmf", "ipmatchf") else ""
        key = (name, call.argument, place)
        operator = self._operators.get(key)
        if operator is None:
            try:
                operator = compile_operator(call.argument, context)
            except ValueError as error:
                raise _Problem(f"@{call.name}: {error}") from error
            except OSError as error:
                shown = call.argument.decode("utf-8", "replace")
                raise _Problem(
                    f"@{call.name}: cannot read {shown!r} beside the rule file ({error.strerror}); put the file there"
                ) from error
            if operator.pattern is not None:
                operator = replace(operator, min_bytes=self._literals.min_bytes(operator.pattern))
            self._operators[key] = operator
        rule.operator = operator
        if call.is_negated:
            return
        if operator.pattern is not None:
            rule.clauses = self._literals.clauses(operator.pattern)
        elif operator.words:
            rule.clauses = (operator.words,)

    def _set_actions(
        self,
        rule: Rule,
        source: syntax.Rule | syntax.Directive,
        actions: Iterable[syntax.Action],
        defaults: tuple[syntax.Action, ...],
    ) -> None:
        """Defaults first, then the rule's own; the later wins. `block` stands for the default's disruption."""
        default_disruption: str | None = None
        default_values: dict[str, bytes] = {}
        own: list[syntax.Action] = list(actions)
        transformations: list[Transformation] = list(rule.transformations)
        controls, setvars = list(rule.controls), list(rule.setvars)
        expirevars, initcols, tags = list(rule.expirevars), list(rule.initcols), list(rule.tags)
        disruption = rule.disruptive.name if rule.disruptive else None
        status = rule.disruptive.status if rule.disruptive else None
        location = rule.disruptive.location if rule.disruptive else None
        scope = "all"
        for action in defaults:
            if action.name in ("deny", "drop", "pass", "allow", "redirect", "block"):
                default_disruption = action.name
            if action.value is not None:
                default_values[action.name] = action.value
            if action.name == "t":
                transformations.append(self._transformation(action))
            elif action.name in ("log", "nolog", "status"):
                own.insert(0, action)
        try:
            for action in own:
                name, value = action.name, action.value or b""
                if name == "id":
                    rule.id = int(value)
                elif name == "t":
                    if value.lower() == b"none":
                        transformations.clear()
                    else:
                        transformations.append(self._transformation(action))
                elif name == "setvar":
                    parsed = parse_set_var(value)
                    setvars.append(
                        EngineSetVar(
                            parsed.collection,
                            MacroText(parsed.key.lower()),
                            _ASSIGNMENTS[parsed.operation],
                            MacroText(parsed.value),
                        )
                    )
                elif name == "expirevar":
                    parsed = parse_set_var(value)
                    expirevars.append(ExpireVar(parsed.collection, parsed.key.lower(), MacroText(parsed.value)))
                elif name == "initcol":
                    collection, _, key = value.partition(b"=")
                    initcols.append(InitCollection(collection.strip().decode("ascii").upper(), MacroText(key)))
                elif name == "ctl":
                    controls.extend(self._controls(source, value))
                elif name in ("deny", "drop", "pass", "allow", "redirect", "block", "proxy"):
                    disruption = name
                    if name == "redirect":
                        location = MacroText(value)
                    elif name == "allow" and value:
                        scope = value.decode("ascii").lower()
                elif name == "status":
                    status = int(value)
                elif name == "skip":
                    rule.skip = int(value)
                elif name == "skipafter":
                    rule.skip_after = value
                elif name == "msg":
                    rule.msg = MacroText(value)
                elif name == "logdata":
                    rule.logdata = MacroText(value)
                elif name == "tag":
                    tags.append(value.decode("utf-8", "replace"))
                elif name == "severity":
                    rule.severity = parse_severity(value)
                elif name in ("log", "nolog"):
                    rule.is_logged = name == "log"
                elif name == "capture":
                    rule.has_capture = True
                elif name == "multimatch":
                    rule.is_multi_match = True
        except ValueError as error:
            raise _Problem(str(error)) from error
        if disruption == "block":
            disruption = default_disruption if default_disruption not in (None, "block") else "pass"
            if disruption == "redirect" and "redirect" in default_values:
                location = MacroText(default_values["redirect"])
        if disruption == "proxy":
            raise _Problem("proxy is Apache's: Envoy routes; use deny, or a route of Envoy's configuration")
        if disruption is not None:
            if status is None:
                status = 302 if disruption == "redirect" else DEFAULT_STATUS
            rule.disruptive = Disruptive(disruption, status, location if disruption == "redirect" else None, scope)
        rule.transformations = tuple(transformations)
        rule.setvars, rule.controls = tuple(setvars), tuple(controls)
        rule.expirevars, rule.initcols, rule.tags = tuple(expirevars), tuple(initcols), tuple(tags)

    def _transformation(self, action: syntax.Action) -> Transformation:
        name = (action.value or b"").decode("latin-1")
        transformation = TRANSFORMATIONS.get(name.lower())
        if transformation is None:
            raise _Problem(f"unknown transformation t:{name}{nearest(name, TRANSFORMATIONS)}")
        return transformation

    def _controls(self, source: syntax.Rule | syntax.Directive, value: bytes) -> list[EngineControl]:
        parsed = parse_control(value)
        name = parsed.key.lower()
        ids: tuple[tuple[int, int], ...] = ()
        if name.endswith("byid"):
            ids = tuple((found.start, found.stop - 1) for found in parse_id_ranges(parsed.value))
        if not parsed.targets:
            return [EngineControl(name, parsed.value, ids)]
        return [EngineControl(name, parsed.value, ids, self._target(source, variable)) for variable in parsed.targets]

    # Directives that act on rules

    def _direct(self, directive: syntax.Directive) -> None:
        name = directive.name
        if name == "SecDefaultAction":
            try:
                actions = directives.listed_actions(directive)
                phases = [Phase(parse_phase(one.value)) for one in actions if one.name == "phase" and one.value]
            except ValueError as error:
                raise _Problem(f"{name}: {error}") from error
            self._defaults[phases[0] if phases else DEFAULT_PHASE] = tuple(actions)
        elif name in _REMOVALS:
            self._remove(directive)
        elif name in _TARGET_UPDATES:
            self._update_targets(directive)
        elif name == "SecRuleUpdateActionById":
            self._update_actions(directive)

    def _meant(self, directive: syntax.Directive) -> Callable[[Rule], bool]:
        if directive.name.endswith("ById"):
            ranges = directives.id_ranges(directive)
            return lambda rule: any(rule.id in one for one in ranges)
        wanted = directive.arguments[0]
        if directive.name.endswith("ByTag"):
            known: dict[str, bool] = {}  # tags are few, the rules that bear them many

            def has_tag(rule: Rule) -> bool:
                for tag in rule.tags:
                    is_named = known.get(tag)
                    if is_named is None:
                        is_named = known[tag] = _is_named(wanted, tag.encode())
                    if is_named:
                        return True
                return False

            return has_tag
        return lambda rule: rule.msg is not None and _is_named(wanted, rule.msg.source)

    def _remove(self, directive: syntax.Directive) -> None:
        is_meant = self._meant(directive)
        removed = 0
        for phase, rules in self._rules.items():
            gone = {position for position, rule in enumerate(rules) if is_meant(rule)}
            if not gone:
                continue
            removed += len(gone)
            self._rules[phase] = [rule for position, rule in enumerate(rules) if position not in gone]
            for _, positions in self._markers:
                positions[phase] -= sum(1 for position in gone if position < positions[phase])
        if not removed:
            self._note(directive, "removes nothing: no rule before it is meant")

    def _update_targets(self, directive: syntax.Directive) -> None:
        is_meant = self._meant(directive)
        wanted, excluded = self._targets(directive, directives.updated_targets(directive))
        replaced, _ = self._targets(directive, directives.replaced_targets(directive))
        meant = [rule for rules in self._rules.values() for rule in rules if is_meant(rule)]
        for rule in meant:
            targets = [target for target in rule.targets if target not in replaced]
            rule.targets = tuple(dict.fromkeys([*targets, *wanted]))
            rule.exclusions = tuple(dict.fromkeys([*rule.exclusions, *excluded]))
        if not meant:
            self._note(directive, "updates nothing: no rule before it is meant")

    def _update_actions(self, directive: syntax.Directive) -> None:
        is_meant = self._meant(directive)
        offset = directives.link_offset(directive)
        meant = [rule for rules in self._rules.values() for rule in rules if is_meant(rule)]
        for rule in meant:
            if offset > len(rule.chain):
                raise _Problem(f"rule {rule.id} has {len(rule.chain)} further links; there is no link {offset}")
            link = rule.chain[offset - 1] if offset else rule
            actions = directives.listed_actions(directive)
            if any(action.name == "t" for action in actions):
                link.transformations = ()
            self._set_actions(link, directive, actions, self._defaults.get(rule.phase, ()))
        if not meant:
            self._note(directive, "updates nothing: no rule before it is meant")

    def _note(self, directive: syntax.Directive, text: str) -> None:
        self.notices.append(f"{directive.file}:{directive.line}: {directive.name} {text}")

    # Order

    def _link(self) -> dict[Phase, tuple[Rule, ...]]:
        """Give every rule its index and every jump its place. A marker counts from where it stands."""
        index = 0
        for phase in Phase:
            rules = self._rules[phase]
            first = index
            for rule in rules:
                rule.index = index
                index += 1
            for position, rule in enumerate(rules):
                if rule.skip_after is not None:
                    places = [
                        positions[phase]
                        for name, positions in self._markers
                        if name == rule.skip_after and positions[phase] > position
                    ]
                    if not places:
                        self.notices.append(f"{rule.place}: no marker {rule.skip_after!r} follows: it ends the phase")
                    rule.jump = first + (places[0] if places else len(rules))
                elif rule.skip:
                    rule.jump = first + min(position + 1 + rule.skip, len(rules))
        return {phase: tuple(rules) for phase, rules in self._rules.items()}


class _DynamicOperator:
    """Operators of one rule by expanded argument, bounded."""

    def __init__(self, compile_operator: Compile, context: _Context) -> None:
        self._compile = compile_operator
        self._context = context
        self._known: dict[bytes, Operator] = {}

    def __call__(self, argument: bytes) -> Operator:
        operator = self._known.get(argument)
        if operator is None:
            if len(self._known) >= DYNAMIC_OPERATORS:
                self._known.clear()
            try:
                operator = self._compile(argument, self._context)
            except ValueError:
                # What came out of the macros is no argument; such a rule matches nothing.
                operator = Operator("noMatch", argument, lambda value: None)
            self._known[argument] = operator
        return operator


def _transformations(actions: tuple[syntax.Action, ...]) -> tuple[syntax.Action, ...]:
    return tuple(action for action in actions if action.name == "t")


def _is_named(wanted: bytes, text: bytes) -> bool:
    """Equal, or found as a pattern if it is written as one (manual: a regular expression)."""
    if wanted == text:
        return True
    if not re.search(rb"[\\^$*+?()\[{|]", wanted):
        return False
    try:
        return re.search(wanted, text) is not None
    except re.error:
        return False


def by_id(phases: Mapping[Phase, tuple[Rule, ...]]) -> dict[int, Rule]:
    """Rules under their id."""
    return {rule.id: rule for rules in phases.values() for rule in rules if rule.id}
