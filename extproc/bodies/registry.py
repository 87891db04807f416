"""Body processors by the name that rules use (REQBODY_PROCESSOR, ctl:requestBodyProcessor)."""

from __future__ import annotations

from extproc.bodies.contract import Processor
from extproc.bodies.grpc_body import grpc_body
from extproc.bodies.json_body import json_body
from extproc.bodies.multipart import multipart
from extproc.bodies.protobuf import protobuf
from extproc.bodies.urlencoded import urlencoded
from extproc.bodies.xml_body import xml_body

PROCESSORS: dict[str, Processor] = {
    "URLENCODED": urlencoded,
    "JSON": json_body,
    "MULTIPART": multipart,
    "XML": xml_body,
    "GRPC": grpc_body,
    "PROTOBUF": protobuf,
}
