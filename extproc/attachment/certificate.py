"""The injector's certificate where there is no cert-manager: made by a Job, kept in a Secret, told to the webhook.

The CA signs one certificate and its key is thrown away: a renewal brings a new CA, and the webhook trusts the former
one as well until every injector serves the new certificate.
"""

from __future__ import annotations

import base64
import datetime
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from extproc.attachment.operations import look
from extproc.model.errors import ExtprocError

VALID_DAYS = 730
RENEW_DAYS = 365
"""A certificate with fewer days left is replaced."""

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token and the API server's CA (Kubernetes documentation, *Accessing the API from a Pod*)."""

TIMEOUT_S = 10.0
"""Of one call of the API server."""


_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
"""Of the CA; strict verifiers ask for it (RFC 5280, section 4.2.1.3)."""


class ApiError(ExtprocError):
    """The API server did not do what was asked."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Issued:
    """PEM."""

    authority: bytes
    certificate: bytes
    key: bytes


def issue(host: str, now: datetime.datetime) -> Issued:
    """A new CA and a server certificate of it for `host` and its name with the cluster's domain."""
    names = [host, f"{host}.cluster.local"]
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "extproc injector")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    authority_id = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())

    def builder(of: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(of)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks of a cluster differ
            .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        )

    authority = (
        builder(issuer, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS, critical=True)
        .add_extension(authority_id, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        builder(subject, key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_id), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    written = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Issued(authority.public_bytes(pem), certificate.public_bytes(pem), written)


def is_good(found: Issued, host: str, now: datetime.datetime) -> bool:
    """Is this certificate for `host`, of this key and this CA, and for long enough?"""
    try:
        certificate = x509.load_pem_x509_certificate(found.certificate)
        authority = x509.load_pem_x509_certificate(found.authority)
        key = serialization.load_pem_private_key(found.key, None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        certificate.verify_directly_issued_by(authority)
    except Exception:
        # Whatever is wrong with it (cryptography raises many kinds): a new one mends it.
        return False
    return (
        host in names.get_values_for_type(x509.DNSName)
        and key.public_key() == certificate.public_key()
        and certificate.not_valid_after_utc - now > datetime.timedelta(days=RENEW_DAYS)
    )


class ClusterApi:
    """The few calls of the API server that the Job makes, with the pod's own account unless told otherwise."""

    def __init__(self, url: str, account: Path = ACCOUNT) -> None:
        self._url = url.rstrip("/")
        self._account = account
        self._context: ssl.SSLContext | None = None
        if url.startswith("https:"):
            self._context = ssl.create_default_context(cafile=str(account / "ca.crt"))

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """Raises ApiError."""
        token = (self._account / "token").read_text().strip()
        request = urllib.request.Request(  # noqa: S310 - the scheme is the user's, http only in tests
            f"{self._url}{path}", method=method, data=None if body is None else json.dumps(body).encode()
        )
        request.add_header("Authorization", f"Bearer {token}")
        request.add_header("Content-Type", kind)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=self._context) as answer:  # noqa: S310
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise ApiError(f"{method} {path}: {error.code} {error.reason}", error.code) from error
        except (OSError, ValueError) as error:
            raise ApiError(f"{method} {path}: {error}") from error


def ensure(api: ClusterApi, namespace: str, secret: str, webhook: str, host: str, now: datetime.datetime) -> str:
    """The Secret holds a good certificate and the webhook trusts it; what was done, in words. Raises ApiError."""
    path = f"/api/v1/namespaces/{namespace}/secrets"
    try:
        kept = api.call("GET", f"{path}/{secret}")
    except ApiError as error:
        if error.status != 404:
            raise
        kept = None
    found = _read(kept)
    trusted = [found.authority] if found is not None else []
    said = "the certificate is good"
    if found is None or not is_good(found, host, now):
        found = issue(host, now)
        trusted.append(found.authority)
        said = "a new certificate"
        written = {"ca.crt": found.authority, "tls.crt": found.certificate, "tls.key": found.key}
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret, "namespace": namespace},
            "type": "kubernetes.io/tls",
            "data": {name: base64.b64encode(text).decode() for name, text in written.items()},
        }
        if kept is None:
            api.call("POST", path, body)
        else:
            api.call("PUT", f"{path}/{secret}", body)
    bundle = base64.b64encode(b"".join(trusted)).decode()
    patch = [{"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle}]
    where = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{webhook}"
    api.call("PATCH", where, patch, "application/json-patch+json")
    return said


def _read(secret: Any) -> Issued | None:
    try:
        data = look(secret, "data") or {}
        return Issued(*(base64.b64decode(data[name]) for name in ("ca.crt", "tls.crt", "tls.key")))
    except (KeyError, ValueError, TypeError):
        return None
