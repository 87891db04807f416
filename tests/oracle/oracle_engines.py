"""Two engines over one rule set: ours, and libmodsecurity (test-only, from PyPI)."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import libmodsecurity
from oracle_material import CRS, Sent

from extproc.cli.wiring import CRS_PREAMBLE
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.matching import Candidates
from extproc.engine.plan import Plan
from extproc.engine.ruleset import Ruleset
from extproc.model.message import Address, RequestHead
from extproc.model.verdict import Decision, Mode, Outcome
from extproc.replay.http1 import Request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, crs_files, load_ruleset

CLIENT = "127.0.0.1"

PROCESSORS = """
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\\+|/)|text/)xml" \
"id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "^application/(?:[a-z0-9.-]+[+])?json" \
"id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
"""
"""libmodsecurity is told by rules which bodies are JSON and XML; we look at the type ourselves."""


CLOSING = b""

_ID = re.compile(r'\[id "(\d+)"\]')


@dataclass(frozen=True, slots=True)
class Told:
    """What an engine says of one request: logged rules in order of id, and whether it stops the request."""

    ids: frozenset[int]
    is_blocked: bool


def preamble(paranoia: int) -> str:
    """The lines before the rules, as `extproc --crs` has them."""
    return CRS_PREAMBLE.format(paranoia=paranoia)


def load_crs(paranoia: int, directory: Path = CRS) -> Ruleset:
    """The Core Rule Set at that paranoia level."""
    return load_ruleset(Sources(crs_files(directory), preamble=preamble(paranoia).encode(), closing=CLOSING))


def unhurried(mode: Mode) -> EngineSettings:
    """Settings under which no clock cuts the logging phase short: what is compared is rules, not this machine."""
    return EngineSettings(mode, closing_budget_us=600_000_000)


class Ours:
    """extproc's engine, in process."""

    SERVER = Address(CLIENT, 80)
    CLIENT = Address(CLIENT, 40000)

    def __init__(
        self, ruleset: Ruleset, prefilter: Candidates | None = None, has_memo: bool = True, mode: Mode = Mode.BLOCK
    ) -> None:
        self.decisions: list[Decision] = []
        self.plan = Plan(ruleset, prefilter, has_memo=has_memo)
        self._inspector = EngineInspector(self.plan, unhurried(mode), self.decisions.append)

    def decide(self, sent: Sent) -> Decision:
        """The whole decision, matches and all."""
        self.decisions.clear()
        head = RequestHead(
            method=sent.method,
            path=sent.path,
            authority=next((value for key, value in sent.headers if key == b"host"), b""),
            headers=sent.headers,
            client=self.CLIENT,
            server=self.SERVER,
            is_last=not sent.body,
        )
        run_exchange(self._inspector, Request(head, sent.body), None)
        return self.decisions[-1]

    def tell(self, sent: Sent) -> Told:
        """Rules and verdict."""
        decision = self.decide(sent)
        return Told(frozenset(match.rule_id for match in decision.matches), decision.verdict is Outcome.BLOCK)


class Theirs:
    """libmodsecurity. Time of the last request, CPU seconds, in `cpu_s`."""

    def __init__(self, paranoia: int, directory: Path = CRS) -> None:
        self._engine = libmodsecurity.ModSecurity()
        self._engine.set_log_callback(_silent)
        self._ruleset = libmodsecurity.RulesSet()
        self._load(preamble(paranoia) + PROCESSORS)
        for file in crs_files(directory):
            if self._ruleset.load_from_uri(str(file)) < 0:
                raise ValueError(self._ruleset.get_parser_error())
        self._load(CLOSING.decode())
        self.cpu_s = 0.0

    def _load(self, text: str) -> None:
        if self._ruleset.load(text) < 0:
            raise ValueError(self._ruleset.get_parser_error())

    def tell(self, sent: Sent) -> Told:
        """Rules and verdict."""
        begun = time.process_time()
        exchange = libmodsecurity.Transaction(self._engine, self._ruleset, "case")
        exchange.process_connection(CLIENT, 40000, CLIENT, 80)
        exchange.process_uri(sent.path.decode("latin-1"), sent.method.decode("ascii"), "1.1")
        for name, value in sent.headers:
            exchange.add_request_header(name, value)
        exchange.process_request_headers()
        stopped_by = _stopped_by(exchange)
        if not stopped_by:
            if sent.body:
                exchange.append_request_body(sent.body)
            exchange.process_request_body()
            stopped_by = _stopped_by(exchange)
        exchange.process_logging()
        ids = {message.rule_id for message in exchange.get_rule_messages()} | stopped_by
        self.cpu_s = time.process_time() - begun
        return Told(frozenset(ids), bool(stopped_by))


def _silent(*told: object) -> None:
    """What is logged is read from the transaction; without a callback it would go to stderr."""


def _stopped_by(exchange: libmodsecurity.Transaction) -> set[int]:
    """The rule whose disruptive action took effect; it is told apart from the others."""
    intervention = exchange.intervention()
    if intervention is None or not intervention.disruptive:
        return set()
    return {int(found) for found in _ID.findall(intervention.log)}
