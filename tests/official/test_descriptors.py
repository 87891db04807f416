"""Our protos against Envoy's own descriptors: every message, field, number, type and oneof.

Runs in an environment of its own (`.venv-official`: xds-protos, no extproc), because two files that describe the
same message cannot live in one process. Our files come as a descriptor set built by buf, as data.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2
from envoy.type.v3 import http_status_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = Path(__file__).resolve().parents[2]
BUF = ROOT / ".venv" / "bin" / "buf"
OFFICIAL = {
    "envoy/config/core/v3/base.proto": base_pb2,
    "envoy/extensions/filters/http/ext_proc/v3/processing_mode.proto": processing_mode_pb2,
    "envoy/service/ext_proc/v3/external_processor.proto": external_processor_pb2,
    "envoy/type/v3/http_status.proto": http_status_pb2,
}

# What Envoy's messages have and ours do not, and why. Anything else missing is a fault.
LEFT_OUT = {
    "envoy.config.core.v3.HeaderValueOption.append": "never sent: a set header overwrites",
    "envoy.config.core.v3.HeaderValueOption.append_action": "never sent: Envoy 1.40 does not honour it",
    "envoy.config.core.v3.HeaderValueOption.keep_empty_value": "never sent: no header of ours is empty",
    "envoy.service.ext_proc.v3.HttpHeaders.attributes": "deprecated, moved to ProcessingRequest",
    "envoy.service.ext_proc.v3.CommonResponse.body_mutation": "never sent: no body is changed",
    "envoy.service.ext_proc.v3.CommonResponse.trailers": "never sent: no trailer is added",
    "envoy.service.ext_proc.v3.CommonResponse.clear_route_cache": "never sent: no route is changed",
    "envoy.service.ext_proc.v3.ProcessingResponse.request_drain": (
        "never sent: 11 here, 12 in 1.40, where 11 is streamed_immediate_response"
    ),
}
# Numbers of release 1.40 that xds-protos 1.85.0 does not know yet; reserved or absent in ours.
NEWER = {"ProcessingRequest": {12, 13}, "ProcessingResponse": {12, 13, 14, 15, 16}, "HttpBody": {5}}


@pytest.fixture(scope="session")
def ours() -> descriptor_pb2.FileDescriptorSet:
    if not BUF.exists():
        pytest.skip("needs buf of the ordinary environment (.venv)")
    built = subprocess.run([BUF, "build", "-o", "-#format=binpb"], cwd=ROOT, capture_output=True, check=True)
    return descriptor_pb2.FileDescriptorSet.FromString(built.stdout)


def files(ours: descriptor_pb2.FileDescriptorSet) -> list[descriptor_pb2.FileDescriptorProto]:
    return [file for file in ours.file if file.name.startswith("envoy/")]


def official(name: str) -> descriptor_pb2.FileDescriptorProto:
    proto = descriptor_pb2.FileDescriptorProto()
    OFFICIAL[name].DESCRIPTOR.CopyToProto(proto)
    return proto


def messages(prefix, protos):
    """(full name, DescriptorProto) of `protos` and what is nested in them."""
    for proto in protos:
        name = f"{prefix}.{proto.name}"
        yield name, proto
        yield from messages(name, proto.nested_type)


def enums(prefix, file):
    for proto in file.enum_type:
        yield f"{prefix}.{proto.name}", proto
    for name, message in messages(prefix, file.message_type):
        for proto in message.enum_type:
            yield f"{name}.{proto.name}", proto


def shape(message, field):
    """Everything that decides the bytes of a field."""
    oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
    return field.number, field.label, field.type, field.type_name, oneof


def test_every_file_of_ours_has_an_official_one(ours) -> None:
    assert {file.name for file in files(ours)} == set(OFFICIAL)


def test_every_field_of_ours_is_official(ours) -> None:
    for file in files(ours):
        theirs = dict(messages(file.package, official(file.name).message_type))
        for name, message in messages(file.package, file.message_type):
            known = {field.name: shape(theirs[name], field) for field in theirs[name].field}
            for field in message.field:
                assert known.get(field.name) == shape(message, field), f"{name}.{field.name}"


def test_what_is_left_out_is_listed(ours) -> None:
    missing = set()
    for file in files(ours):
        theirs = dict(messages(file.package, official(file.name).message_type))
        for name, message in messages(file.package, file.message_type):
            have = {field.name for field in message.field}
            missing |= {f"{name}.{field.name}" for field in theirs[name].field if field.name not in have}
    assert missing == set(LEFT_OUT)


def test_numbers_left_out_are_not_used_for_anything_else(ours) -> None:
    for file in files(ours):
        theirs = dict(messages(file.package, official(file.name).message_type))
        for name, message in messages(file.package, file.message_type):
            used = {field.number for field in message.field}
            assert used <= {field.number for field in theirs[name].field}
            assert not used & NEWER.get(message.name, set())


def test_enums_are_the_same(ours) -> None:
    for file in files(ours):
        theirs = dict(enums(file.package, official(file.name)))
        for name, enum in enums(file.package, file):
            mine = [(value.name, value.number) for value in enum.value]
            assert mine == [(value.name, value.number) for value in theirs[name].value], name


def test_service_is_the_same(ours) -> None:
    [file] = [file for file in files(ours) if file.service]
    [mine], [theirs] = file.service, official(file.name).service
    assert (mine.name, len(mine.method)) == (theirs.name, len(theirs.method))
    for ours_, theirs_ in zip(mine.method, theirs.method, strict=True):
        assert ours_.name == theirs_.name
        assert (ours_.input_type, ours_.output_type) == (theirs_.input_type, theirs_.output_type)
        assert ours_.client_streaming
        assert ours_.server_streaming
        assert theirs_.client_streaming
        assert theirs_.server_streaming


def classes(ours: descriptor_pb2.FileDescriptorSet):
    """Message classes of our files, in a pool of their own beside the official ones."""
    pool = descriptor_pool.DescriptorPool()
    for file in ours.file:
        pool.Add(file)
    names = [f"envoy.service.ext_proc.v3.{name}" for name in ("ProcessingRequest", "ProcessingResponse")]
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names]


def requests() -> list[bytes]:
    """Official messages with every field of use set, and some that ours does not know."""
    pb = external_processor_pb2
    full = pb.ProcessingRequest()
    headers = full.request_headers.headers.headers
    headers.add(key=":path", raw_value=b"/\xff\x00?q=1")
    headers.add(key="x", value="text")
    full.request_headers.attributes["old"].fields["k"].string_value = "v"
    full.request_headers.end_of_stream = True
    full.metadata_context.filter_metadata["n"].fields["k"].number_value = 1.5
    full.attributes["envoy.filters.http.ext_proc"].fields["source.address"].string_value = "[::1]:1"
    full.protocol_config.request_body_mode = 2
    full.observability_mode = True
    bodies = [
        pb.ProcessingRequest(request_body=pb.HttpBody(body=b"\x00\xff", end_of_stream=True)),
        pb.ProcessingRequest(response_body=pb.HttpBody(body=b"", end_of_stream_without_message=True)),
    ]
    trailers = pb.ProcessingRequest()
    trailers.request_trailers.trailers.headers.add(key="t", raw_value=b"1")
    return [message.SerializeToString(deterministic=True) for message in (full, *bodies, trailers)]


@pytest.mark.parametrize("number", range(4))
def test_requests_survive_our_messages(ours, number: int) -> None:
    sent = requests()[number]
    request, _ = classes(ours)
    back = external_processor_pb2.ProcessingRequest.FromString(request.FromString(sent).SerializeToString())
    assert back == external_processor_pb2.ProcessingRequest.FromString(sent)


def test_responses_read_the_same(ours) -> None:
    _, response = classes(ours)
    mine = response()
    mine.immediate_response.status.code = 403
    mine.immediate_response.grpc_status.status = 7
    mine.immediate_response.body = b"no"
    mine.immediate_response.details = "waf_block"
    mine.immediate_response.headers.set_headers.add().header.raw_value = b"v"
    mine.dynamic_metadata.fields["waf"].struct_value.fields["rule"].number_value = 942100
    mine.mode_override.request_trailer_mode = 1
    theirs = external_processor_pb2.ProcessingResponse.FromString(mine.SerializeToString())
    assert theirs.immediate_response.status.code == http_status_pb2.Forbidden
    assert theirs.immediate_response.grpc_status.status == 7
    assert theirs.immediate_response.headers.set_headers[0].header.raw_value == b"v"
    assert theirs.dynamic_metadata.fields["waf"].struct_value.fields["rule"].number_value == 942100
    assert theirs.mode_override.request_trailer_mode == processing_mode_pb2.ProcessingMode.SEND
    assert theirs.SerializeToString(deterministic=True) == mine.SerializeToString(deterministic=True)


def test_future_fields_are_tolerated(ours) -> None:
    request, _ = classes(ours)
    only_window = bytes([13 << 3, 5]) + bytes([12 << 3 | 2, 0])
    parsed = request.FromString(only_window)
    assert parsed.WhichOneof("request") is None
    assert sorted(parsed.SerializeToString()) == sorted(only_window)
