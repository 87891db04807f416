"""How Envoy asks an engine elsewhere: TLS with a certificate on both sides, from files or by way of files of secrets.

Files that stand in the bootstrap are read once, at Envoy's start. What a file of secrets names is read anew when its
folder changes (Envoy's documentation, *Secret discovery service*, certificate rotation), as with a renewed Secret of
Kubernetes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

TLS_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"

CLIENT_SECRET, CA_SECRET = "extproc-client", "extproc-ca"
"""Names of secrets, and of their files but for `.yaml`: Envoy takes one secret of each file."""


@dataclass(frozen=True, slots=True)
class EngineTls:
    """Paths as Envoy sees them. `name` is what the engine's certificate must bear; `secrets` is a folder, or empty."""

    ca: str
    certificate: str
    key: str
    name: str
    secrets: str = ""


def transport_socket(tls: EngineTls) -> dict[str, Any]:
    """Of the engine's cluster."""
    match = [{"san_type": "DNS", "matcher": {"exact": tls.name}}]
    common: dict[str, Any] = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
        "alpn_protocols": ["h2"],
    }
    if tls.secrets:
        common["tls_certificate_sds_secret_configs"] = [_source(tls, CLIENT_SECRET)]
        common["combined_validation_context"] = {
            "default_validation_context": {"match_typed_subject_alt_names": match},
            "validation_context_sds_secret_config": _source(tls, CA_SECRET),
        }
    else:
        common["tls_certificates"] = [_certificate(tls)]
        common["validation_context"] = {**_authority(tls), "match_typed_subject_alt_names": match}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": f"{TLS_TYPE}.UpstreamTlsContext", "sni": tls.name, "common_tls_context": common},
    }


def secrets(tls: EngineTls) -> dict[str, dict[str, Any]]:
    """The files of secrets: name in the folder → what it holds."""
    client = {"tls_certificate": {**_certificate(tls), "watched_directory": _folder(tls.certificate)}}
    authority = {"validation_context": {**_authority(tls), "watched_directory": _folder(tls.ca)}}
    return {
        f"{name}.yaml": {"resources": [{"@type": f"{TLS_TYPE}.Secret", "name": name, **secret}]}
        for name, secret in ((CLIENT_SECRET, client), (CA_SECRET, authority))
    }


def _source(tls: EngineTls, name: str) -> dict[str, Any]:
    path = str(PurePosixPath(tls.secrets) / f"{name}.yaml")
    return {"name": name, "sds_config": {"path_config_source": {"path": path}, "resource_api_version": "V3"}}


def _certificate(tls: EngineTls) -> dict[str, Any]:
    return {"certificate_chain": {"filename": tls.certificate}, "private_key": {"filename": tls.key}}


def _authority(tls: EngineTls) -> dict[str, Any]:
    return {"trusted_ca": {"filename": tls.ca}}


def _folder(file: str) -> dict[str, str]:
    return {"path": str(PurePosixPath(file).parent)}
