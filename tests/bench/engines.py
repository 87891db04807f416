"""The engines that are compared, each behind `run(requests) → CPU seconds`, and the rules they are given."""

from __future__ import annotations

import gc
import json
import os
import pickle
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from extproc.cli.wiring import CRS_PREAMBLE, PARANOIA_PREAMBLE
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.ruleset import BodySettings, Ruleset
from extproc.events.masking import Masking
from extproc.model.message import Address, RequestHead
from extproc.model.verdict import Decision, Mode, Outcome
from extproc.operators.contract import CompileContext, Operator
from extproc.operators.registry import OPERATORS
from extproc.replay.http1 import Request
from extproc.replay.run import run_exchange
from extproc.seclang.assemble import Sources, crs_files, load_ruleset
from tests.bench.report import ROOT
from tests.bench.traffic import FORM, JSON, Sent

CRS = Path(os.environ.get("CRS_DIR") or ROOT.parent / "shared" / "crs")
OWN_RULES = ROOT / "extproc" / "rules" / "own.conf"
BENCH_PYTHON = ROOT / ".venv-bench" / "bin" / "python"

CLIENT, SERVER = Address("127.0.0.1", 40000), Address("127.0.0.1", 80)

PROCESSORS = r"""
SecRule REQUEST_HEADERS:Content-Type "@rx (?i)^(?:application(?:/soap\+|/)|text/)xml" \
    "id:899980,phase:1,t:none,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "@rx (?i)^application/(?:[a-z0-9.-]+[+])?json" \
    "id:899981,phase:1,t:none,pass,nolog,ctl:requestBodyProcessor=JSON"
"""
"""Engines other than ours are told by rules which bodies are JSON and XML."""

OWN_PREAMBLE = "SecRuleEngine On\nSecRequestBodyAccess On\n"
"""The shipped rules leave both to extproc, whose default is on; libmodsecurity's is off."""

DETECTORS = ("detectsqli", "detectxss")

API_RULES = ROOT / "extproc" / "rules" / "crs-api.conf"

QUIET_RULES = ROOT / "extproc" / "rules" / "own+crs.conf"

RULE_SETS = ("crs-pl1", "crs-pl2", "own")


class Missing(Exception):  # noqa: N818  # no error of ours
    """A peer that this machine has not; the text is the reason."""


def seclang_of(rules: str) -> tuple[str, tuple[Path, ...]]:
    """(lines before, files) of `crs-plN`, `crs-api`, `own` or `own+crs`, the same for every engine. Raises Missing."""
    if rules == "own":
        return OWN_PREAMBLE, (OWN_RULES,)
    try:
        files = crs_files(CRS)
    except FileNotFoundError as error:
        raise Missing(f"{error}; name a checkout in CRS_DIR") from error
    if rules == "crs-api":
        return CRS_PREAMBLE.format(paranoia=1), (API_RULES, *files)
    if rules == "own+crs":
        return PARANOIA_PREAMBLE.format(paranoia=1), (OWN_RULES, *files, QUIET_RULES)
    return CRS_PREAMBLE.format(paranoia=int(rules[-1])), files


def load_ours(rules: str) -> Ruleset:
    """The rules compiled by extproc, bodies read as its command reads them. Raises Missing, SecLangErrors."""
    preamble, files = seclang_of(rules)
    bodies = BodySettings(is_type_guessed=rules.startswith("own"))
    return load_ruleset(Sources(files, preamble=preamble.encode()), bodies)


@contextmanager
def detectors_that_never_match() -> Iterator[None]:
    """Within it rules compile with @detectSQLi and @detectXSS that look at nothing."""
    kept = {name: OPERATORS[name] for name in DETECTORS}

    def blind(name: str) -> Any:
        def compile_blind(argument: bytes, context: CompileContext) -> Operator:
            real = kept[name](argument, context)
            return Operator(real.name, argument, lambda value: None, words=real.words, min_bytes=real.min_bytes)

        return compile_blind

    OPERATORS.update({name: blind(name) for name in DETECTORS})
    try:
        yield
    finally:
        OPERATORS.update(kept)


def to_model(sent: Sent) -> Request:
    """As the server gets it from Envoy."""
    headers = tuple((name.encode(), value.encode("latin-1")) for name, value in sent.headers)
    head = RequestHead(
        method=sent.method.encode(),
        path=sent.target.encode("latin-1"),
        authority=dict(headers)[b"host"],
        headers=headers,
        client=CLIENT,
        server=SERVER,
        is_last=not sent.body,
    )
    return Request(head, sent.body)


class Ours:
    """extproc's engine behind the seam that its server drives: phases 1, 2 and 5."""

    def __init__(self, ruleset: Ruleset, has_memo: bool = True, has_views: bool = False) -> None:
        masking = Masking()  # as the command wires it: what is secret is not remembered, and finding out costs
        self.plan = Plan(
            ruleset,
            is_secret=lambda collection, key: masking.is_secret_variable(f"{collection}:{key.decode('latin-1')}"),
            is_secret_value=lambda value: bool(masking.find(value)[0]),
            has_memo=has_memo,
            has_views=has_views,
        )
        self._last: list[Decision] = []
        self._inspector = EngineInspector(self.plan, EngineSettings(mode=Mode.BLOCK), self._keep)

    def _keep(self, decision: Decision) -> None:
        self._last = [decision]

    def run(self, requests: Sequence[Sent]) -> float:
        """CPU seconds for all of them."""
        made = [to_model(sent) for sent in requests]
        gc.collect()
        begun = time.thread_time_ns()
        for request in made:
            self.pass_through(request)
        return (time.thread_time_ns() - begun) / 1e9

    def pass_through(self, request: Request) -> None:
        """One exchange, from its headers to its event."""
        run_exchange(self._inspector, request, None)

    def tell(self, sent: Sent) -> tuple[bool, frozenset[int]]:
        """(blocked?, ids of logged rules)."""
        self.pass_through(to_model(sent))
        decision = self._last[0]
        return decision.verdict is Outcome.BLOCK, frozenset(match.rule_id for match in decision.matches)


class LibModSecurity:
    """libmodsecurity with the same rules, through its Python binding: phases 1, 2 and 5."""

    def __init__(self, rules: str) -> None:
        """Raises Missing."""
        try:
            import libmodsecurity
        except ImportError as error:
            raise Missing(f"libmodsecurity is not installed ({error})") from error
        preamble, files = seclang_of(rules)
        self._library = libmodsecurity
        self._engine = libmodsecurity.ModSecurity()
        self._engine.set_log_callback(_say_nothing)  # without one, matches go to stderr
        self._rules = libmodsecurity.RulesSet()
        if self._rules.load(preamble + PROCESSORS) < 0:
            raise Missing(self._rules.get_parser_error())
        for file in files:
            if self._rules.load_from_uri(str(file)) < 0:
                raise Missing(f"libmodsecurity does not take {file.name}: {self._rules.get_parser_error().strip()}")

    def run(self, requests: Sequence[Sent]) -> float:
        """CPU seconds for all of them, the binding's own cost included (a few microseconds a header)."""
        made = [(sent, [(name, value) for name, value in sent.headers]) for sent in requests]
        begun = time.thread_time_ns()
        for sent, headers in made:
            self._run(sent, headers)
        return (time.thread_time_ns() - begun) / 1e9

    def tell(self, sent: Sent) -> tuple[bool, frozenset[int]]:
        """(blocked?, ids of logged rules)."""
        exchange, is_blocked = self._run(sent, list(sent.headers))
        return is_blocked, frozenset(message.rule_id for message in exchange.get_rule_messages())

    def _run(self, sent: Sent, headers: list[tuple[str, str]]) -> tuple[Any, bool]:
        exchange = self._library.Transaction(self._engine, self._rules)
        exchange.process_connection("127.0.0.1", 40000, "127.0.0.1", 80)
        exchange.process_uri(sent.target, sent.method, "1.1")
        for name, value in headers:
            exchange.add_request_header(name, value)
        exchange.process_request_headers()
        if not _is_stopped(exchange):
            if sent.body:
                exchange.append_request_body(sent.body)
            exchange.process_request_body()
            is_blocked = _is_stopped(exchange)
        else:
            is_blocked = True
        exchange.process_logging()
        return exchange, is_blocked


def _is_stopped(exchange: Any) -> bool:
    told = exchange.intervention()
    return told is not None and bool(told.disruptive)


def _say_nothing(*_told: object) -> None:
    """Matches are read from the exchange."""


class LibDdwaf:
    """libddwaf of the `ddtrace` package with the rules it brings, in a process of its own."""

    def __init__(self) -> None:
        """Raises Missing."""
        if not BENCH_PYTHON.exists():
            raise Missing("no .venv-bench with ddtrace in it; `make bench` makes it")
        script = Path(__file__).parent / "peers" / "ddwaf.py"
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            [str(BENCH_PYTHON), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false"},
        )
        self.rules: int = self._answer()["rules"]
        self.matched = 0

    def run(self, requests: Sequence[Sent]) -> float:
        """CPU seconds for all of them; conversion not counted."""
        assert self._process.stdin is not None
        pickle.dump([_addresses(sent) for sent in requests], self._process.stdin)
        self._process.stdin.flush()
        answer = self._answer()
        self.matched = answer["matched"]
        return sum(answer["ns"]) / 1e9

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(10)
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip().splitlines()
            raise Missing(f"libddwaf's process ended: {said[-1] if said else 'without a word'}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _addresses(sent: Sent) -> dict[str, object]:
    """A request by libddwaf's addresses, parsed as Datadog's libraries do it."""
    headers = dict(sent.headers)
    _, _, query = sent.target.partition("?")
    told: dict[str, object] = {
        "server.request.uri.raw": sent.target,
        "server.request.method": sent.method,
        "server.request.query": parse_qs(query),
        "server.request.headers.no_cookies": {name: value for name, value in headers.items() if name != "cookie"},
        "server.request.cookies": dict(
            pair.strip().split("=", 1) for pair in headers.get("cookie", "").split(";") if "=" in pair
        ),
        "http.client_ip": "127.0.0.1",
    }
    if headers.get("content-type") == FORM:
        told["server.request.body"] = parse_qs(sent.body.decode())
    elif headers.get("content-type") == JSON:
        told["server.request.body"] = json.loads(sent.body)
    return told
