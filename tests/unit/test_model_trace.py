"""`traceparent` is read as W3C Trace Context writes it, and as nothing else."""

import pytest

from extproc.model.trace import TraceParent, trace_parent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("written", "is_sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"fe-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_what_is_read(written: str, is_sampled: bool) -> None:
    headers = ((b"host", b"a"), (b"traceparent", written.encode()))
    assert trace_parent(headers) == TraceParent(TRACE, SPAN, is_sampled)


@pytest.mark.parametrize(
    "written",
    [
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{GOOD}-more",
        f"{GOOD}\n",
        f" {GOOD}",
        GOOD.upper(),
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"01-{TRACE}-{SPAN}-01more",
        f"00-{TRACE}-{SPAN}",
        f"00_{TRACE}_{SPAN}_01",
    ],
)
def test_what_is_none(written: str) -> None:
    assert trace_parent(((b"traceparent", written.encode()),)) is None


def test_two_headers_are_no_parent() -> None:
    line = (b"traceparent", GOOD.encode())
    assert trace_parent((line, line)) is None
    assert trace_parent(()) is None
