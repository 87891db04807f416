"""A planted secret leaves neither in a block answer, nor in the metadata, nor in what is told of a crash."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.treatment import Terms, Treatment
from extproc.events import faults
from extproc.events.line import human
from extproc.events.masking import Masking
from extproc.events.record import encode as encode_event
from extproc.model.answer import Templates
from extproc.model.deadline import Deadline
from extproc.model.message import RequestHead
from extproc.model.verdict import Decision, Mode, Outcome, Verdict
from extproc.policy.patterns import compile_pattern
from extproc.replay.run import drive
from extproc.seclang.assemble import Sources, load_ruleset
from extproc.wire import encode

RULES = rb"""
SecRuleEngine On
SecRule ARGS|REQUEST_HEADERS|REQUEST_COOKIES|REQUEST_URI "@contains Zq7" \
    "id:1,phase:2,deny,log,msg:'found %{MATCHED_VAR}',logdata:'%{MATCHED_VAR_NAME}=%{MATCHED_VAR}'"
"""
PLAN = Plan(load_ruleset(Sources((), preamble=RULES)))
MASKING = Masking(frozenset({"kundennummer"}), extra_looks=(compile_pattern("Zq7KD[0-9a-f]+"),))
OWN = Templates(html=b"<p>${incident} ${title}</p>", plain=b"${incident}")

secrets = st.text(alphabet="0123456789abcdef", min_size=8, max_size=40)

PLACES = {
    "argument": lambda secret: (b"/?password=Zq7" + secret, ()),
    "cookie": lambda secret: (b"/", ((b"cookie", b"theme=Zq7" + secret),)),
    "authorization": lambda secret: (b"/", ((b"authorization", b"Bearer Zq7" + secret),)),
    "name of the policy": lambda secret: (b"/?kundennummer=Zq7" + secret, ()),
    "look of the policy": lambda secret: (b"/?q=Zq7KD" + secret, ()),
    "look of the policy, encoded": lambda secret: (b"/?q=%5a%71%37%4b%44" + secret, ()),
}


def run(path: bytes, headers: tuple[tuple[bytes, bytes], ...], templates: Templates | None) -> tuple[Verdict, Decision]:
    decisions: list[Decision] = []
    terms = Terms(PLAN, Mode.BLOCK, templates=templates, shadow=PLAN)
    inspector = EngineInspector(
        PLAN, EngineSettings(), decisions.append, treat=lambda head, now: Treatment(terms, head, Mode.BLOCK)
    )
    inspection = inspector.open()
    head = RequestHead(b"GET", path, b"shop.example", headers)
    verdict = drive(inspection.request_headers(head, Deadline(time.monotonic_ns, 60_000_000)))
    inspection.close(None)
    return verdict, decisions[-1]


@given(
    place=st.sampled_from(sorted(PLACES)),
    secret=secrets,
    accept=st.sampled_from([b"", b"text/html", b"application/json"]),
    kind=st.sampled_from([b"", b"application/grpc"]),
    templates=st.sampled_from([None, OWN]),
)
def test_a_secret_leaves_in_no_answer_and_no_event(
    place: str, secret: str, accept: bytes, kind: bytes, templates: Templates | None
) -> None:
    path, headers = PLACES[place](secret.encode())
    verdict, decision = run(path, headers, templates)
    assert verdict.outcome is Outcome.BLOCK
    assert secret.encode() not in encode.block(verdict, accept, kind)
    written = json.loads(encode_event(decision, MASKING))
    assert secret not in json.dumps(written) + human(decision, MASKING)


@contextmanager
def told() -> Iterator[io.StringIO]:
    """What the hooks of a serving process write, while they are in place."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, sys.unraisablehook, faults.threading.excepthook)
    stream = io.StringIO()
    stderr, sys.stderr = sys.stderr, stream
    try:
        faults.install(Masking())
        yield stream
    finally:
        sys.stderr = stderr
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        sys.excepthook, sys.unraisablehook, faults.threading.excepthook = before[2:]


def crash_in_logging(secret: str) -> None:
    try:
        {}[secret.encode()]
    except KeyError:
        logging.getLogger("extproc.engine").exception("incident X: it broke")


def crash_with_causes(secret: str) -> None:
    try:
        try:
            int(secret + "x")
        except ValueError as error:
            raise RuntimeError(f"while reading {secret}") from error
    except RuntimeError:
        logging.getLogger("extproc.server").exception("stream ended by a fault")


def crash_uncaught(secret: str) -> None:
    try:
        raise ValueError(secret)
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)


def crash_in_a_task(secret: str) -> None:
    async def fail() -> None:
        raise LookupError(secret)

    async def lose() -> None:
        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_exception_handler(
            {"message": "Task exception was never retrieved", "future": task, "exception": task.exception()}
        )

    asyncio.run(lose())


def crash_in_a_thread(secret: str) -> None:
    def fail() -> None:
        raise ValueError(secret)

    thread = faults.threading.Thread(target=fail)
    thread.start()
    thread.join()


CRASHES = [crash_in_logging, crash_with_causes, crash_uncaught, crash_in_a_task, crash_in_a_thread]


@pytest.mark.parametrize("crash", CRASHES, ids=lambda crash: crash.__name__)
@given(secret=secrets)
def test_a_crash_tells_where_and_not_what(crash: object, secret: str) -> None:
    with told() as stream:
        crash("Zq7" + secret)  # type: ignore[operator]
    text = stream.getvalue()
    assert "test_policy_planted_secret.py:" in text
    assert "Error" in text
    assert secret not in text


def test_what_is_told_of_our_own_errors() -> None:
    from extproc.model.errors import WireError

    try:
        raise WireError("out-of-order")
    except WireError as error:
        text = faults.describe(error)
    assert text.endswith("extproc.model.errors.WireError: out-of-order")
    assert (
        faults.describe(OSError(28, "No space left on device", "/secret/place")) == "OSError: No space left on device"
    )
