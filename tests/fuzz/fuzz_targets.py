"""All targets by name: bytes in, an exception out if a promise is broken."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz import fuzz_bodies, fuzz_events, fuzz_frames, fuzz_policy, fuzz_rules, fuzz_wire

TARGETS: dict[str, Callable[[bytes], None]] = {
    "urlencoded": fuzz_bodies.urlencoded,
    "cookies": fuzz_bodies.cookies,
    "json": fuzz_bodies.json_body,
    "multipart": fuzz_bodies.multipart,
    "xml": fuzz_bodies.xml_body,
    "charset": fuzz_bodies.charset,
    "grpc": fuzz_bodies.grpc,
    "protobuf": fuzz_bodies.protobuf,
    "decompression": fuzz_bodies.decompression,
    "labels": fuzz_bodies.labels,
    "transformations": fuzz_rules.transformations,
    "rx": fuzz_rules.rx,
    "operators": fuzz_rules.operators,
    "detect-sqli": fuzz_rules.detect_sqli,
    "detect-xss": fuzz_rules.detect_xss,
    "seclang": fuzz_rules.seclang,
    "http1": fuzz_rules.http1,
    "curl": fuzz_rules.curl,
    "transaction": fuzz_rules.transaction,
    "wire-decode": fuzz_wire.wire_decode,
    "wire-encode": fuzz_wire.wire_encode,
    "conversation": fuzz_wire.conversation,
    "frames": fuzz_frames.frames,
    "event": fuzz_events.event,
    "policy": fuzz_policy.policy,
    "openapi": fuzz_policy.openapi,
    "policy-request": fuzz_policy.request,
}
