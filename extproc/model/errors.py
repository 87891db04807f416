"""The faults. Outcomes are values (`Verdict`); only what went wrong is an exception."""

from __future__ import annotations


class ExtprocError(Exception):
    """Base of every fault that extproc raises on purpose."""


class ConfigError(ExtprocError):
    """A setting is wrong. `key` names it as the user wrote it (`workers`, `--mode`, `EXTPROC_MODE`)."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.message = message

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.key, self.message)  # crosses from the process that loads to the one that tells


class SecLangError(ExtprocError):
    """One finding in a rule file: where, what, and how to mend it."""

    def __init__(self, file: str, line: int, message: str, column: int = 0) -> None:
        super().__init__(f"{file}:{line}: {message}")
        self.file = file
        self.line = line
        self.column = column
        self.message = message

    def __reduce__(self) -> tuple[type, tuple[str, int, str, int]]:
        return type(self), (self.file, self.line, self.message, self.column)


class SecLangErrors(ExtprocError):  # noqa: N818 - the plural of SecLangError
    """All findings of a rule set at once, in file order; nothing of it is loaded."""

    def __init__(self, findings: list[SecLangError]) -> None:
        super().__init__("\n".join(str(finding) for finding in findings))
        self.findings = findings

    def __reduce__(self) -> tuple[type, tuple[list[SecLangError]]]:
        return type(self), (self.findings,)


class RulesetRefused(ExtprocError):  # noqa: N818 - a decision, not a fault
    """A rule set that loads, and that nobody can want in place of the running one."""


class WireError(ExtprocError):
    """The peer broke the ext_proc conversation. `reason` is a fixed text, safe to send back."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PolicyErrors(ConfigError):  # noqa: N818 - several at once, as SecLangErrors
    """All findings of a policy at once, each `file:line: what, and how to mend it`; nothing of it is loaded."""

    def __init__(self, file: str, findings: list[str]) -> None:
        super().__init__(file, "\n".join(findings))
        self.findings = findings

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[type, tuple[str, list[str]]]:
        return type(self), (self.key, self.findings)


def yaml_fault(error: Exception) -> str:
    """What a YAML parser found, in one line, with its place where it says one (`problem_mark`, as PyYAML does)."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f"line {mark.line + 1}, column {mark.column + 1}: {getattr(error, 'problem', '')}"
    return " ".join(str(error).split()) or type(error).__name__
