"""Who may call: the server's certificate, the CA of its clients, and the names among them, renewed while it runs.

TLS 1.2 or newer, and always with a client certificate: whoever can call the engine can ask in anybody's name.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from extproc.model.errors import ConfigError
from extproc.model.files import Look, look
from extproc.server.complaints import Complaints
from extproc.server.settings import TlsSettings

LOOK_EVERY_S = 1.0
"""Between two looks at the files; each is taken when somebody connects."""

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: those that HTTP/2 allows (RFC 9113, section 9.2.2)."""

FILE_LIMIT_BYTES = 1_048_576
"""Of a certificate, key or CA file: a larger one is the wrong file."""

_NAME_KINDS = ("DNS", "URI")


@dataclass(frozen=True, slots=True)
class Identity:
    """What one reading of the files gave. `expires`: of the server's own certificate, seconds since 1970."""

    context: ssl.SSLContext
    certificate: bytes
    key: bytes
    client_ca: bytes
    expires: float


def load_identity(settings: TlsSettings) -> Identity:
    """Raises ConfigError, which names the setting, for files that cannot serve."""
    certificate = _read("tls_cert", settings.certificate)
    key = _read("tls_key", settings.key)
    client_ca = _read("tls_client_ca", settings.client_ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["h2"])
    context.verify_mode = ssl.CERT_REQUIRED
    # Each connection shows its own certificate. TLS 1.2 may still resume a session by its number, which the door sees.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    try:
        context.load_cert_chain(settings.certificate, settings.key, _no_password)
    except (OSError, ValueError) as error:
        raise ConfigError("tls_cert", f"{settings.certificate} and {settings.key}: {_told(error)}") from error
    try:
        context.load_verify_locations(cadata=client_ca.decode("ascii"))
    except (OSError, ValueError) as error:
        raise ConfigError("tls_client_ca", f"{settings.client_ca} holds no CA: {_told(error)}") from error
    return Identity(context, certificate, key, client_ca, _expires(settings.certificate, certificate))


class Credentials:
    """The newest files that load, looked at when somebody connects. `say` gets a line when that changes."""

    def __init__(
        self, settings: TlsSettings, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises ConfigError."""
        self._settings = settings
        self._say = say
        self._complaints = Complaints(say)
        self._clock = clock
        self._looked = clock()
        self._looks = self._look()
        self.identity = load_identity(settings)

    def renewed(self) -> bool:
        """Were other files found, and do they load? Then they are in use from now on."""
        now = self._clock()
        if now - self._looked < LOOK_EVERY_S:
            return False
        self._looked = now
        looks = self._look()
        if looks == self._looks:
            return False
        self._looks = looks
        try:
            self.identity = load_identity(self._settings)
        except ConfigError as error:
            self._say(f"the certificate in use stays: {error}")
            return False
        self._say("a new certificate is in use for new connections")
        return True

    def admits(self, names: Iterable[str]) -> bool:
        """May a client call whose certificate, which is good, has these names?"""
        allowed = self._settings.client_names
        return not allowed or not allowed.isdisjoint(names)

    def complain(self, reason: str, text: str) -> None:
        """Tells of a client that was refused, a line a second at most for each reason."""
        self._complaints.tell(reason, text)

    def _look(self) -> tuple[Look, ...]:
        files = (self._settings.certificate, self._settings.key, self._settings.client_ca)
        return tuple(look("file", str(file)) for file in files)


class Client(NamedTuple):
    """Who stands at the door: DNS and URI names of the certificate, and when it expires, seconds since 1970."""

    names: list[str]
    expires: float


def client_of(connection: ssl.SSLObject) -> Client:
    """After the handshake, which has asked for a certificate and verified it."""
    found = connection.getpeercert() or {}
    names = found.get("subjectAltName", ())
    expires = found.get("notAfter")
    return Client(
        [str(name[1]) for name in names if isinstance(name, tuple) and name[0] in _NAME_KINDS],
        ssl.cert_time_to_seconds(expires) if isinstance(expires, str) else 0.0,
    )


def _read(key: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(key, f"{path} cannot be read: {error.strerror}") from error
    if len(text) > FILE_LIMIT_BYTES:
        raise ConfigError(key, f"{path} is larger than {FILE_LIMIT_BYTES} bytes")
    return text


def _no_password() -> str:
    raise ValueError("the key is locked by a passphrase")


def _told(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).lower().replace("_", " ")


def _expires(path: Path, chain: bytes) -> float:
    """Of the first certificate of the file, which is the server's own."""
    from cryptography import x509  # only who listens with TLS needs it

    try:
        return float(x509.load_pem_x509_certificate(chain).not_valid_after_utc.timestamp())
    except ValueError as error:
        raise ConfigError("tls_cert", f"{path} holds no certificate: {error}") from error
