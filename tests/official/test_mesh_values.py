"""The values of our EnvoyFilters, read as strictly as istiod reads them: the JSON of protobuf and nothing beside it.

Envoy takes a wrapped value as a message (`disallow_all: {value: true}`); istiod does not, and leaves out the patch with
no more than a line in its log: requests then pass uninspected.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.http.ext_proc.v3 import ext_proc_pb2  # noqa: F401 - read inside an Any, as those below
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from google.protobuf import json_format

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    "CLUSTER": cluster_pb2.Cluster,
    "LISTENER": listener_pb2.Listener,
    "NETWORK_FILTER": listener_components_pb2.Filter,
    "HTTP_FILTER": http_connection_manager_pb2.HttpFilter,
}
FILES = ("components/istio/envoy-filter.yaml", "overlays/istio-ambient/envoy-filter.yaml")


def patches(file: str) -> list[dict]:
    """YAML is read where there is a reader of it."""
    read = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))"
    command = [ROOT / ".venv" / "bin" / "python", "-c", read, ROOT / "k8s" / file]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [patch for tree in json.loads(text) for patch in tree["spec"]["configPatches"]]


@pytest.mark.parametrize("file", FILES)
def test_every_value_is_the_json_of_its_message(file: str) -> None:
    found = patches(file)
    assert found
    for patch in found:
        json_format.ParseDict(patch["patch"]["value"], KINDS[patch["applyTo"]]())


def test_a_wrapped_value_is_seen() -> None:
    (patch,) = [one for one in patches(FILES[1]) if one["applyTo"] == "HTTP_FILTER"]
    patch["patch"]["value"]["typed_config"]["mutation_rules"]["disallow_all"] = {"value": True}
    with pytest.raises(json_format.ParseError, match="disallow_all"):
        json_format.ParseDict(patch["patch"]["value"], KINDS["HTTP_FILTER"]())
