"""libmodsecurity as the second implementation of every case table: it runs the same cases, in process."""

from __future__ import annotations

from collections.abc import Iterator

import libmodsecurity
import pytest

BATCH = 50
"""Values per transaction, below SecArgumentsLimit."""

PREAMBLE = """
SecRuleEngine On
SecRequestBodyAccess On
SecRequestBodyLimit 10000000
SecRequestBodyNoFilesLimit 10000000
"""


class Libmodsecurity:
    """Values go in as arguments of a form, every byte escaped; what a rule makes of them comes out in its logdata."""

    def __init__(self) -> None:
        self._engine = libmodsecurity.ModSecurity()
        self._rulesets: dict[str, libmodsecurity.RulesSet] = {}
        self._logged: dict[int, str] = {}
        self._engine.set_rule_message_callback(lambda message: self._logged.__setitem__(message.rule_id, message.data))

    def close(self) -> None:
        self._engine.set_rule_message_callback(None)

    def transform(self, name: str, values: list[bytes]) -> list[bytes]:
        """Each value as t:`name` leaves it. Hexadecimal on the way out, since logdata is text."""
        rules = "".join(
            f'SecRule ARGS:v{index} "@unconditionalMatch" "id:{index + 1},phase:2,pass,t:none,t:{name},t:hexEncode,'
            "logdata:'%{MATCHED_VAR}'\"\n"
            for index in range(BATCH)
        )
        out = []
        for start in range(0, len(values), BATCH):
            batch = values[start : start + BATCH]
            logged = self._run(rules, batch)
            out += [bytes.fromhex(logged[index + 1]) for index in range(len(batch))]
        return out

    def operate(self, operator: str, value: bytes) -> tuple[bool, bytes | None]:
        """Does the operator (`@pm a b`, as in a rule) match, and what is in TX.0 then (None: nothing)?"""
        quoted = operator.replace('"', '\\"')
        rules = (
            f'SecRule ARGS:v0 "{quoted}" "id:1,phase:2,pass,t:none,capture,logdata:\'-\'"\n'
            'SecRule TX:0 "@unconditionalMatch" "id:2,phase:2,pass,t:none,t:hexEncode,logdata:\'%{MATCHED_VAR}\'"\n'
        )
        logged = self._run(rules, [value])
        captured = logged.get(2)
        return 1 in logged, None if captured is None else bytes.fromhex(captured)

    def _run(self, rules: str, values: list[bytes]) -> dict[int, str]:
        ruleset = self._rulesets.get(rules)
        if ruleset is None:
            ruleset = self._rulesets[rules] = libmodsecurity.RulesSet()
            if ruleset.load(PREAMBLE + rules) < 0:
                raise ValueError(ruleset.get_parser_error())
        self._logged = {}
        exchange = libmodsecurity.Transaction(self._engine, ruleset, "case")
        exchange.process_connection("127.0.0.1", 1, "127.0.0.1", 2)
        exchange.process_uri("/", "POST", "1.1")
        exchange.add_request_header("Content-Type", "application/x-www-form-urlencoded")
        exchange.process_request_headers()
        form = (b"v%d=" % index + b"".join(b"%%%02x" % byte for byte in value) for index, value in enumerate(values))
        exchange.append_request_body(b"&".join(form))
        exchange.process_request_body()
        return self._logged


@pytest.fixture(scope="session")
def oracle() -> Iterator[Libmodsecurity]:
    """The reference implementation, one engine for all tests."""
    engine = Libmodsecurity()
    yield engine
    engine.close()
