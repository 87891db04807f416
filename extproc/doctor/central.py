"""Questions to an engine that others call over a network: whom does it answer, and until when?"""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from extproc.doctor.questions import TIMEOUT_S, Finding, Grade

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""A client's preface and its empty SETTINGS (RFC 9113, section 3.4)."""

SETTINGS = 4
"""Type of the frame with which a server of HTTP/2 begins."""

SOON_DAYS = 7
"""Left of a certificate that should have been renewed by now."""


@dataclass(frozen=True, slots=True)
class Central:
    """`engine` is `HOST:PORT`. The others are files, and the DNS name in the engine's certificate; all or none."""

    engine: str
    ca: str = ""
    certificate: str = ""
    key: str = ""
    name: str = ""

    @property
    def address(self) -> tuple[str, int]:
        """For a socket."""
        host, _, port = self.engine.rpartition(":")
        return host.strip("[]"), int(port)


def ask_central(central: Central, now: datetime.datetime) -> Iterator[Finding]:
    """Every question in order; where nobody listens, no other one."""
    try:
        is_open = _answers(_plain(central))
    except OSError as error:
        yield Finding("does the engine listen?", Grade.BAD, f"no, not at {central.engine}: {error.strerror or error}")
        return
    yield _without_tls(central, is_open)
    if is_open:
        return
    yield _without_certificate(central)
    yield _expires("until when is the engine's certificate good?", _certificate_of(central), now)
    if not central.certificate:
        yield Finding("is a proxy answered?", Grade.UNKNOWN, "name its files: --engine-ca, --engine-cert, --engine-key")
        return
    yield _with_certificate(central)
    yield _expires("until when is the proxy's certificate good?", _certificate_in(central.certificate), now)


def _without_tls(central: Central, is_open: bool) -> Finding:
    question = "does the engine take a call in plain text?"
    if is_open:
        told = (
            "yes: whoever reaches that port can ask in anybody's name. Give it --tls-cert, --tls-key, --tls-client-ca"
        )
        return Finding(question, Grade.BAD, told)
    return Finding(question, Grade.FINE, "no")


def _without_certificate(central: Central) -> Finding:
    question = "does the engine take a call without a certificate?"
    try:
        with _plain(central) as plain, _trusting().wrap_socket(plain) as connection:
            is_open = _answers(connection)
    except OSError:
        is_open = False
    if is_open:
        return Finding(question, Grade.BAD, "yes: its TLS asks callers for none, so anybody can call")
    return Finding(question, Grade.FINE, "no")


def _with_certificate(central: Central) -> Finding:
    question = "is a proxy answered?"
    try:
        context = ssl.create_default_context(cafile=central.ca)
        context.load_cert_chain(central.certificate, central.key)
        context.set_alpn_protocols(["h2"])
        name = central.name or central.address[0]
        with _plain(central) as plain, context.wrap_socket(plain, server_hostname=name) as connection:
            if _answers(connection):
                return Finding(question, Grade.FINE, f"yes, with {central.certificate}")
    except ssl.SSLCertVerificationError as error:
        return Finding(question, Grade.BAD, f"no: the engine's certificate is not trusted ({error.verify_message})")
    except OSError as error:
        return Finding(question, Grade.BAD, f"no: {getattr(error, 'reason', None) or error.strerror or error}")
    told = "no: the engine closes; extproc_clients_refused_total and its log say why"
    return Finding(question, Grade.BAD, told)


def _expires(question: str, certificate: x509.Certificate | None, now: datetime.datetime) -> Finding:
    if certificate is None:
        return Finding(question, Grade.UNKNOWN, "it does not show")
    end = certificate.not_valid_after_utc
    days = (end - now).total_seconds() / 86_400
    if days < 0:
        return Finding(question, Grade.BAD, f"it expired on {end:%Y-%m-%d %H:%M} UTC")
    told = f"for {days:.0f} days, until {end:%Y-%m-%d %H:%M} UTC"
    if days < SOON_DAYS:
        return Finding(question, Grade.WARNING, f"{told}: was it renewed?")
    return Finding(question, Grade.FINE, told)


def _certificate_of(central: Central) -> x509.Certificate | None:
    """The engine's own. TLS 1.3 shows it to a client that has none itself."""
    try:
        with _plain(central) as plain, _trusting().wrap_socket(plain) as connection:
            found = connection.getpeercert(binary_form=True)
    except OSError:
        return None
    return x509.load_der_x509_certificate(found) if found else None


def _certificate_in(file: str) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(Path(file).read_bytes())
    except (OSError, ValueError):
        return None


def _trusting() -> ssl.SSLContext:
    """For looking only: nothing is sent that matters."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _plain(central: Central) -> socket.socket:
    return socket.create_connection(central.address, timeout=TIMEOUT_S)


def _answers(connection: socket.socket) -> bool:
    """Does a server of HTTP/2 begin to speak?"""
    with connection:
        try:
            connection.sendall(GREETING)
            head = connection.recv(9)
        except OSError:
            return False
    return len(head) == 9 and head[3] == SETTINGS
