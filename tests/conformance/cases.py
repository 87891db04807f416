"""G01 to G44: what Envoy does, and what an ext_proc server that guards an app must answer.

Each case is a function whose docstring is stimulus and expectation; CASES lists all of them in order. Those about
the server as a process are in `process_cases.py`.
"""

from __future__ import annotations

import gzip
import random
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import encoded
import grpc
import peer as p
import process_cases
from envoy.extensions.filters.http.ext_proc.v3.processing_mode_pb2 import ProcessingMode
from peer import Peer

HANDSHAKE = (("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"))


def in_query(text: str) -> str:
    return "/?id=" + urllib.parse.quote(text, safe="")


def in_form(text: str) -> bytes:
    return b"id=" + urllib.parse.quote(text, safe="").encode()


def g01(peer: Peer) -> None:
    """A clean GET: one CONTINUE, verdict allow, nothing mutated but x-waf-*; OK after half-close, not before."""
    stream = peer.open()
    stream.send(p.request_headers("/shop?q=shoes"))
    reply = stream.receive()
    assert p.kind(reply) == "request_headers"
    assert p.verdict(reply) == "allow"
    response = reply.request_headers.response
    assert response.status == 0
    assert all(option.header.key.startswith("x-waf-") for option in response.header_mutation.set_headers)
    p.settle()
    assert stream.is_open, "the stream ended before Envoy was done with it"
    stream.half_close()
    assert stream.rest() == []
    assert stream.code() is grpc.StatusCode.OK


def g02(peer: Peer) -> None:
    """An attack in the query: one immediate response, 403, metadata block with a rule; nothing afterwards."""
    result = peer.talk(p.request_headers(in_query(peer.attack)))
    assert len(result.replies) == 1
    assert p.is_block(result.replies[0])
    waf = result.replies[0].dynamic_metadata.fields["waf"].struct_value.fields
    assert waf["rule"].number_value or waf["rule"].string_value
    assert waf["incident"].string_value
    page = result.replies[0].immediate_response
    assert waf["incident"].string_value.encode() in page.body
    assert str(int(waf["rule"].number_value)).encode() not in page.body


def g03(peer: Peer) -> None:
    """Headers, then a clean body: two replies of the matching kinds, pending and then allow."""
    stream = peer.open()
    stream.send(p.form_post())
    first = stream.receive()
    stream.send(p.request_body(in_form("shoes")))
    second = stream.receive()
    assert (p.kind(first), p.verdict(first)) == ("request_headers", "pending")
    assert (p.kind(second), p.verdict(second)) == ("request_body", "allow")
    assert stream.code() is grpc.StatusCode.OK


def g04(peer: Peer) -> None:
    """An attack in the body: CONTINUE, then an immediate 403."""
    result = peer.talk(p.form_post(), p.request_body(in_form(peer.attack)))
    assert result.kinds == ["request_headers", "immediate_response"]
    assert p.is_block(result.replies[1])


def g05(peer: Peer) -> None:
    """Headers with a body to come, then half-close: OK, and no reply that was not asked for."""
    result = peer.talk(p.form_post())
    assert result.kinds == ["request_headers"]
    assert p.verdict(result.replies[0]) == "pending"
    assert result.is_ok


def g06(peer: Peer) -> None:
    """The engine raises: an error status with a fixed text, never OK, no word of the exception."""
    with peer.having("fault_path") as other:
        message = p.request_headers(other.options.fault_path)
        result = other.talk(message)
        assert not result.replies
        assert not result.is_ok
        assert result.details == other.talk(message).details
        assert len(result.details) < 40
        assert "Error" not in result.details
        assert other.is_alive()


def g07(peer: Peer) -> None:
    """The engine gives no verdict: INTERNAL."""
    with peer.having("nothing_path") as other:
        result = other.talk(p.request_headers(other.options.nothing_path))
        assert not result.replies
        assert result.code is grpc.StatusCode.INTERNAL


def g08(peer: Peer) -> None:
    """No event in the message: INVALID_ARGUMENT; unless it holds only fields 12 and 13, then it is passed over."""
    for message in (b"", bytes([14 << 3, 1]), bytes([10 << 3, 1]), bytes([13 << 3, 1, 14 << 3, 1])):
        result = peer.talk(message)
        assert not result.replies
        assert result.code is grpc.StatusCode.INVALID_ARGUMENT, message
    windows = bytes([12 << 3 | 2, 0, 13 << 3, 5])
    assert peer.talk(windows).is_ok
    result = peer.talk(windows, p.request_headers(), windows)
    assert result.kinds == ["request_headers"]
    assert result.is_ok


def g09(peer: Peer) -> None:
    """A stream without messages: half-closed it ends OK, cancelled it is gone."""
    assert peer.talk() == p.Result([], grpc.StatusCode.OK, "")
    stream = peer.open()
    stream.cancel()
    assert stream.code() is grpc.StatusCode.CANCELLED
    assert peer.is_alive()


def g10(peer: Peer) -> None:
    """Cancelled while the engine works: no reply, and the server has time for others."""
    with peer.having("slow_path") as other:
        stream = other.open()
        stream.send(p.request_headers(other.options.slow_path))
        p.settle()
        stream.cancel()
        assert stream.rest() == []
        assert other.is_alive()


def g11(peer: Peer) -> None:
    """A body before any headers: an error."""
    result = peer.talk(p.request_body(b"x"))
    assert not result.replies
    assert not result.is_ok


def g12(peer: Peer) -> None:
    """Headers twice, a body after the last one, trailers after the last body: an error each, after good replies."""
    for good, bad in (
        ([p.form_post()], p.form_post()),
        ([p.request_headers()], p.request_body(b"x")),
        ([p.form_post(), p.request_body(b"a=b")], p.request_body(b"c=d")),
        ([p.form_post(), p.request_body(b"a=b")], p.request_trailers(("a", "b"))),
        ([p.form_post(), p.request_trailers()], p.request_trailers()),
        ([p.request_headers()], p.request_headers()),
    ):
        result = peer.talk(*good, bad)
        assert len(result.replies) <= len(good)
        assert not result.is_ok, f"{[m.WhichOneof('request') for m in good]} then {bad.WhichOneof('request')}"


def g13(peer: Peer) -> None:
    """Trailers directly after headers: accepted, and the verdict is on the trailers."""
    result = peer.talk(p.form_post(), p.request_trailers(("x-checksum", "abc")))
    assert result.kinds == ["request_headers", "request_trailers"]
    assert [p.verdict(reply) for reply in result.replies] == ["pending", "allow"]
    assert result.is_ok


def g14(peer: Peer) -> None:
    """Response headers first (a local reply of Envoy's): CONTINUE and no verdict; after a request: CONTINUE."""
    alone = peer.talk(p.response_headers("400"))
    assert alone.kinds == ["response_headers"]
    assert p.verdict(alone.replies[0]) == ""
    assert alone.is_ok
    both = peer.talk(p.request_headers(), p.response_headers(is_last=True))
    assert both.kinds == ["request_headers", "response_headers"]
    assert both.is_ok


def g15(peer: Peer) -> None:
    """The app answers while the verdict on the body is outstanding: each is answered by its own kind."""
    result = peer.talk(p.form_post(), p.request_body(b"a=" + b"x" * 100_000), p.response_headers(is_last=True))
    assert sorted(result.kinds) == ["request_body", "request_headers", "response_headers"]
    assert result.is_ok


def g16(peer: Peer) -> None:
    """observability_mode: no reply at all, not to an attack either."""
    for path in ("/", in_query(peer.attack)):
        watched = p.request_headers(path)
        watched.observability_mode = True
        after = p.response_headers(is_last=True)
        after.observability_mode = True
        result = peer.talk(watched, after)
        assert result.replies == []
        assert result.is_ok


def g17(peer: Peer) -> None:
    """A declared body mode other than the profile's: an error at once. The profile's own is fine."""
    mine = peer.options.body_mode
    assert peer.talk(p.declared(p.request_headers(), mine)).kinds == ["request_headers"]
    for mode, _ in ProcessingMode.BodySendMode.items():
        if mode != mine:
            result = peer.talk(p.declared(p.request_headers(), mode))
            assert not result.replies, mode
            assert result.code is grpc.StatusCode.FAILED_PRECONDITION, mode


def g18(peer: Peer) -> None:
    """A STREAMED body in five chunks: an answer to each, in order; a block when an attack lies across two of them."""
    with peer.beside(peer.control.shared("streamed")) as other:
        clean = [p.request_body(b"a=%d&" % number, is_last=number == 4) for number in range(5)]
        result = other.talk(p.declared(p.form_post(), "STREAMED"), *clean)
        assert result.kinds == ["request_headers"] + ["request_body"] * 5
        assert [p.verdict(reply) for reply in result.replies] == ["pending"] * 5 + ["allow"]
        text = in_form(other.attack)
        for cut in (4, len(text) // 2, len(text) - 2):
            parts = [b"a=1&", b"b=2&", b"c=3&", text[:cut], text[cut:]]
            chunks = [p.request_body(part, is_last=number == 4) for number, part in enumerate(parts)]
            result = other.talk(p.declared(p.form_post(), "STREAMED"), *chunks)
            assert result.kinds == ["request_headers"] + ["request_body"] * 4 + ["immediate_response"], (cut, result)
            assert p.is_block(result.replies[-1])


def g19(peer: Peer) -> None:
    """A body cut by BUFFERED_PARTIAL, of which the rest would pass unseen: the mode is refused, or the body blocked."""
    result = peer.talk(p.declared(p.form_post(), "BUFFERED_PARTIAL"), p.request_body(b"a=b", is_last=False))
    if result.replies:
        assert result.kinds == ["request_headers", "immediate_response"]
        assert p.verdict(result.replies[1]) == "block"
    else:
        assert not result.is_ok


def g20(peer: Peer) -> None:
    """`value` alone, `raw_value` alone, both: all are read, and raw_value wins."""
    bad, good = in_query(peer.attack), "/?id=1"
    for value, raw_value, is_blocked in (
        (bad, "", True),
        ("", bad, True),
        (good, bad, True),
        (bad, good, False),
    ):
        message = p.request_headers()
        for line in message.request_headers.headers.headers:
            if line.key == ":path":
                line.value, line.raw_value = value, raw_value.encode()
        [reply] = peer.talk(message).replies
        assert p.is_block(reply) is is_blocked, (value, raw_value)


def g21(peer: Peer) -> None:
    """Bytes that are no text, NUL, a thousand headers, a value of 1 MiB, an empty key: a verdict each."""
    odd: list[tuple[list[p.Pair], bytes]] = [
        ([("x-odd", bytes(range(128, 256)))], b"a=b"),
        ([("x-odd", b"a\x00b")], b"a=\x00b\xff"),
        ([(f"x-{number}", "v") for number in range(1000)], b""),
        ([("x-long", b"v" * 1_000_000)], b""),
        ([("", "empty key")], b""),
    ]
    for headers, body in odd:
        head = p.request_headers("/", *headers, ("content-type", "text/plain"), method="POST", is_last=False)
        result = peer.talk(head, p.request_body(body))
        assert p.verdict(result.replies[-1]) in ("allow", "block"), headers[0][0]
    raw = p.request_headers()
    raw.request_headers.headers.headers[1].raw_value = b"/\xff\xfe?a=%00\x01"
    assert p.verdict(peer.talk(raw).replies[-1]) in ("allow", "block")
    assert peer.is_alive()


def g22(peer: Peer) -> None:
    """The same header twice: the attack is seen in either line."""
    good, bad = ("cookie", "id=1"), ("cookie", f"id={peer.attack}")
    for lines in ((good, bad), (bad, good)):
        [reply] = peer.talk(p.request_headers("/", *lines)).replies
        assert p.is_block(reply)


def g23(peer: Peer) -> None:
    """Attributes absent, as numbers, with odd addresses, against the headers: never a failure."""
    for attributes in (
        {},
        {"source.address": 38796.0},
        {"source.address": "10.0.0.1:0"},
        {"source.address": "[2001:db8::1]:443"},
        {"source.address": "2001:db8::1"},
        {"source.address": "@/run/x.sock"},
        {"source.address": "10.0.0.1:99999999999", "source.port": 5.0},
        {"request.headers": "CelMap value", "request.path": "/other", "request.method": "POST"},
    ):
        message = p.request_headers("/", ("x-forwarded-for", "203.0.113.9, evil"))
        fields = message.attributes[p.ATTRIBUTES].fields
        for name, value in attributes.items():
            if isinstance(value, str):
                fields[name].string_value = value
            else:
                fields[name].number_value = value
        result = peer.talk(message)
        assert [p.verdict(reply) for reply in result.replies] == ["allow"], attributes
    empty = p.request_headers()
    empty.attributes["another.filter"].fields["source.address"].string_value = "10.0.0.1:1"
    assert peer.talk(empty).is_ok


def g24(peer: Peer) -> None:
    """Replies in general: no `value`, no append_action, a status, no field from 11 on, pages up to 8 KiB.

    Every reply of every case is held against this; here, pages in the formats that clients ask for.
    """
    for accept in ("text/html,*/*;q=0.8", "application/json", "text/plain", "*/*", "", "x" * 10_000):
        message = p.request_headers(in_query(peer.attack))
        for line in message.request_headers.headers.headers:
            if line.key == "accept":
                line.raw_value = accept.encode()
        [reply] = peer.talk(message).replies
        assert p.is_block(reply)


def g25(peer: Peer) -> None:
    """An upgrade where it is allowed: CONTINUE, body mode NONE, all other modes spelled out, metadata `upgrade`."""
    path = peer.needs("upgrade_path")
    stream = peer.open()
    stream.send(p.request_headers(path, *HANDSHAKE, is_last=False))
    reply = stream.receive(is_override_due=True)
    assert p.kind(reply) == "request_headers"
    assert reply.HasField("mode_override")
    mode = reply.mode_override
    assert (mode.request_body_mode, mode.response_body_mode) == (ProcessingMode.NONE, ProcessingMode.NONE)
    headers = (mode.request_header_mode, mode.response_header_mode)
    trailers = (mode.request_trailer_mode, mode.response_trailer_mode)
    assert ProcessingMode.DEFAULT not in headers + trailers
    assert reply.dynamic_metadata.fields["waf"].struct_value.fields["upgrade"].bool_value
    assert stream.code() is grpc.StatusCode.OK
    bad = p.request_headers(path + in_query(peer.attack)[1:], *HANDSHAKE, is_last=False)
    assert p.is_block(peer.talk(bad).replies[0]), "the handshake itself is inspected"


def g26(peer: Peer) -> None:
    """An upgrade elsewhere, a POST with Upgrade, CONNECT: an immediate 403."""
    refused = [
        p.request_headers("/not-for-upgrades", *HANDSHAKE, is_last=False),
        p.request_headers("/", *HANDSHAKE, method="POST", is_last=False),
        p.request_headers("/", method="CONNECT", is_last=False),
    ]
    if path := peer.options.upgrade_path:
        refused += [
            p.request_headers(path, *HANDSHAKE, method="POST", is_last=False),
            p.request_headers(path + "x", *HANDSHAKE, is_last=False),
            p.request_headers(path + "/..%2fadmin", *HANDSHAKE, is_last=False),
            p.request_headers(path, ("upgrade", "websocket"), is_last=False),
        ]
    for message in refused:
        [reply] = peer.talk(message).replies
        assert p.is_block(reply)


def g27(peer: Peer) -> None:
    """A body although NONE was asked for: inspected and answered all the same."""
    path = peer.needs("upgrade_path")
    form = ("content-type", "application/x-www-form-urlencoded")
    for body, last in ((in_form("shoes"), "request_body"), (in_form(peer.attack), "immediate_response")):
        stream = peer.open()
        stream.send(p.request_headers(path, *HANDSHAKE, form, is_last=False))
        stream.receive(is_override_due=True)
        stream.send(p.request_body(body))
        assert p.kind(stream.receive()) == last
        stream.half_close()
        assert stream.rest() == []


def g28(peer: Peer) -> None:
    """The engine needs more than its budget: one answer, a block, and the server lives."""
    with peer.having("slow_path") as other:
        result = other.talk(p.request_headers(other.options.slow_path))
        assert len(result.replies) == 1
        assert p.is_block(result.replies[0], 503)
        assert other.is_alive()


def g29(peer: Peer) -> None:
    """A client deadline passes while the engine works: the call ends, nothing comes late."""
    with peer.having("slow_path") as other:
        stream = other.open(timeout_s=0.05)
        stream.send(p.request_headers(other.options.slow_path))
        assert stream.rest() == []
        assert stream.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert other.is_alive()


def g30(peer: Peer) -> None:
    """The largest body passes; one far over the receive limit is RESOURCE_EXHAUSTED, and others go on."""
    limit = peer.options.body_limit
    assert peer.talk(p.form_post(), p.request_body(b"a" * limit)).kinds == ["request_headers", "request_body"]
    beside = peer.open()
    beside.send(p.form_post())
    beside.receive()
    result = peer.talk(p.form_post(), p.request_body(b"a" * (limit * 4)))
    assert result.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    beside.send(p.request_body(b"a=b"))
    assert p.kind(beside.receive()) == "request_body"
    assert beside.code() is grpc.StatusCode.OK


def g31(peer: Peer) -> None:
    """Packed bodies: the attack is found; a bomb is refused in time; broken, twice packed or oddly labelled ones are
    refused, or passed as not wholly inspected."""
    attack, clean = in_form(peer.attack), in_form("shoes")
    for name, pack in encoded.ENCODINGS.items():
        assert p.is_block(packed(peer, name, pack(attack))), name
    assert p.verdict(packed(peer, "gzip", gzip.compress(clean))) == "allow"
    assert p.verdict(packed(peer, "gzip", encoded.bomb())) == "block"
    whole = gzip.compress(attack)
    for name, data in (
        ("gzip", whole[:-12]),
        ("gzip", b"no gzip at all"),
        ("gzip, gzip", gzip.compress(whole)),
        ("identity, gzip", whole),
        ("unheard-of", attack),
    ):
        reply = packed(peer, name, data)
        coverage = reply.dynamic_metadata.fields["waf"].struct_value.fields["coverage"].string_value
        assert p.verdict(reply) == "block" or coverage in ("partly", "uninspected"), name
    assert peer.is_alive()


def packed(peer: Peer, encoding: str, data: bytes) -> Any:
    """The last reply to a form in that encoding."""
    form = ("content-type", "application/x-www-form-urlencoded")
    head = p.request_headers("/", form, ("content-encoding", encoding), method="POST", is_last=False)
    return peer.talk(head, p.request_body(data)).replies[-1]


def g32(peer: Peer) -> None:
    """grpc.health.v1: SERVING for "" and for the service, NOT_FOUND for another."""
    check = "/grpc.health.v1.Health/Check"
    serving = bytes([1 << 3, 1])
    name = b"envoy.service.ext_proc.v3.ExternalProcessor"
    assert peer.call(check) == (grpc.StatusCode.OK, serving)
    assert peer.call(check, bytes([1 << 3 | 2, len(name)]) + name) == (grpc.StatusCode.OK, serving)
    assert peer.call(check, bytes([1 << 3 | 2, 1]) + b"x")[0] is grpc.StatusCode.NOT_FOUND


def g35(peer: Peer) -> None:
    """Reflection is off unless asked for; an unknown method is UNIMPLEMENTED."""
    assert peer.call("/envoy.service.ext_proc.v3.ExternalProcessor/Other")[0] is grpc.StatusCode.UNIMPLEMENTED
    assert peer.call("/a.b/C")[0] is grpc.StatusCode.UNIMPLEMENTED
    code, listed = peer.call("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", bytes([7 << 3 | 2, 0]))
    if peer.options.reflection:
        assert b"envoy.service.ext_proc.v3.ExternalProcessor" in listed
    else:
        assert code is grpc.StatusCode.UNIMPLEMENTED


def g41(peer: Peer) -> None:
    """Half-close right behind the last message: the reply still comes, then OK."""
    for _ in range(20):
        result = peer.talk(p.request_headers())
        assert result.kinds == ["request_headers"]
        assert result.is_ok


def g42(peer: Peer) -> None:
    """Messages in random order, against the state machine: never two replies, never OK with one unanswered."""
    legal = {
        ("start", "head"): "open",
        ("start", "last head"): "done",
        ("open", "body"): "open",
        ("open", "last body"): "done",
        ("open", "trailers"): "done",
    }
    messages = {
        "head": p.form_post(),
        "last head": p.request_headers(),
        "body": p.request_body(b"a=b", is_last=False),
        "last body": p.request_body(b"c=d"),
        "trailers": p.request_trailers(("a", "b")),
    }
    dice = random.Random(42)
    for _ in range(100):
        names = dice.choices(list(messages), weights=(4, 2, 4, 2, 2), k=dice.randint(1, 5))
        if dice.random() < 0.7:
            names[0] = "head"
        state, expected = "start", []
        is_fault = False
        for name in names:
            after = legal.get((state, name))
            if after is None:
                is_fault = True
                break
            state = after
            expected.append(messages[name].WhichOneof("request"))
        result = peer.talk(*(messages[name] for name in names))
        assert result.is_ok is not is_fault, names
        # What was already answered may be lost behind the error status, never more than it come.
        assert result.kinds == expected[: len(result.kinds)], names
        assert is_fault or result.kinds == expected, names


def g43(peer: Peer) -> None:
    """Bytes that are no message: an error, and the server lives. A gzip-compressed gRPC message: accepted."""
    for data in (b"\xff", b"\x12\xff\xff\xff\xff\x0f", b"\x12\x05ab", b"x" * 1000):
        result = peer.talk(data)
        assert not result.replies
        assert not result.is_ok, data[:10]
    assert peer.is_alive()
    result = peer.talk(p.form_post(), p.request_body(in_form(peer.attack)), compression=grpc.Compression.Gzip)
    assert p.is_block(result.replies[-1])


def g44(peer: Peer) -> None:
    """Messages with every official field, and with fields that are unknown: judged as without. Replies hold no field
    that the official messages do not know."""
    for path, verdict in (("/", "allow"), (in_query(peer.attack), "block")):
        message = p.request_headers(path)
        message.attributes[p.ATTRIBUTES].fields["source.address"].string_value = "192.0.2.1:1"
        message.metadata_context.filter_metadata["other"].fields["list"].list_value.values.add(number_value=1)
        message.metadata_context.typed_filter_metadata["any"].Pack(message.metadata_context)
        message.request_headers.attributes["old"].fields["a"].bool_value = True
        p.declared(message, peer.options.body_mode)
        lines = message.request_headers.headers
        for part in (message, message.request_headers, lines, lines.headers[0], message.protocol_config):
            part.MergeFromString(UNKNOWN)
        result = peer.talk(message)
        assert [p.verdict(reply) for reply in result.replies] == [verdict]
    body = p.request_body(in_form("shoes"))
    body.request_body.MergeFromString(UNKNOWN)
    result = peer.talk(p.form_post(), body)
    assert [p.verdict(reply) for reply in result.replies] == ["pending", "allow"]
    for reply in result.replies:
        assert not p.unknown_fields(reply)


UNKNOWN = b"\xc0\x3e\x01\xca\x3e\x02hi\xd5\x3e\x00\x00\x00\x00\xd9\x3e\x00\x00\x00\x00\x00\x00\x00\x00"
"""Fields 1000 to 1003: a number, bytes, four and eight bytes."""


@dataclass(frozen=True, slots=True)
class Case:
    """`run` raises what pytest raises: an assertion, a failure, a skip."""

    number: str
    title: str
    run: Callable[[Peer], None]


CASES = [
    Case("G01", "clean GET", g01),
    Case("G02", "attack in the query", g02),
    Case("G03", "clean body", g03),
    Case("G04", "attack in the body", g04),
    Case("G05", "body never comes", g05),
    Case("G06", "engine raises", g06),
    Case("G07", "engine without a verdict", g07),
    Case("G08", "message without an event", g08),
    Case("G09", "empty stream", g09),
    Case("G10", "cancelled at work", g10),
    Case("G11", "body before headers", g11),
    Case("G12", "out of order", g12),
    Case("G13", "trailers after headers", g13),
    Case("G14", "response headers", g14),
    Case("G15", "early answer of the app", g15),
    Case("G16", "observability mode", g16),
    Case("G17", "another body mode", g17),
    Case("G18", "token over a chunk boundary", g18),
    Case("G19", "partial body", g19),
    Case("G20", "value and raw_value", g20),
    Case("G21", "odd bytes and sizes", g21),
    Case("G22", "duplicate headers", g22),
    Case("G23", "odd attributes", g23),
    Case("G24", "every reply", g24),
    Case("G25", "upgrade where allowed", g25),
    Case("G26", "upgrade elsewhere", g26),
    Case("G27", "body though NONE", g27),
    Case("G28", "budget used up", g28),
    Case("G29", "client deadline", g29),
    Case("G30", "body over the limit", g30),
    Case("G31", "encoded bodies", g31),
    Case("G32", "health check", g32),
    Case("G33", "health watch while draining", process_cases.g33),
    Case("G34", "health before rules", process_cases.g34),
    Case("G35", "reflection, unknown method", g35),
    Case("G36", "keepalive pings", process_cases.g36),
    Case("G37", "SIGTERM under load", process_cases.g37),
    Case("G38", "ten thousand streams", process_cases.g38),
    Case("G39", "hundred thousand in a row", process_cases.g39),
    Case("G40", "reload while streams run", process_cases.g40),
    Case("G41", "half-close behind the last", g41),
    Case("G42", "random order", g42),
    Case("G43", "malformed and compressed", g43),
    Case("G44", "our protos against official", g44),
]
