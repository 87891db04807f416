"""The TLS of one connection: a client shows its certificate before a byte of it reaches the protocol behind.

To the socket it is the protocol, to the protocol behind it the transport. Who is refused is told and counted by one
of a few fixed words.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from typing import cast

from extproc.server.tls import Credentials, client_of

HANDSHAKE_S = 10.0
"""From the connection to the end of its handshake."""

READ_BYTES = 16_384
"""A TLS record holds no more."""

MAX_TOLD = 200
"""Characters of what a stranger's certificate says of itself that come into the log."""

RECORD_HANDSHAKE = 22
"""First byte of TLS (RFC 8446, section 5.1)."""

EXPIRED_CODES = frozenset({9, 10})
"""X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""

PLAIN_TEXT = "plain-text"
NO_CERTIFICATE = "no-certificate"
UNKNOWN_CA = "unknown-ca"
EXPIRED = "expired"
WRONG_NAME = "wrong-name"
HANDSHAKE = "handshake"
TOO_SLOW = "too-slow"
TOO_MANY = "too-many"


class Door:
    """What all doorways of a worker share. At most `max_handshakes` go on at a time."""

    def __init__(
        self,
        credentials: Credentials,
        max_handshakes: int,
        handshake_s: float = HANDSHAKE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock`: seconds since 1970."""
        self.credentials = credentials
        self.max_handshakes = max_handshakes
        self.handshake_s = handshake_s
        self.clock = clock
        self.refused: dict[str, int] = {}
        """Clients that were not let in, by word."""
        self.handshakes: dict[Doorway, None] = {}

    def refuse(self, reason: str, text: str) -> None:
        """Tells and counts one client that is not let in."""
        self.refused[reason] = self.refused.get(reason, 0) + 1
        self.credentials.complain(reason, f"client refused: {text}")

    def certificate_expires(self) -> int:
        """Of the certificate in use, seconds since 1970."""
        return int(self.credentials.identity.expires)

    def close(self) -> None:
        """Ends the handshakes that are going on."""
        for doorway in list(self.handshakes):
            doorway.abort()


class Doorway(asyncio.Protocol):
    """One client. `make_behind` makes the protocol that it speaks once it was let in."""

    def __init__(self, door: Door, make_behind: Callable[[], asyncio.Protocol]) -> None:
        self._door = door
        self._make_behind = make_behind
        self._behind: asyncio.Protocol | None = None
        self._socket: asyncio.Transport | None = None
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_begun = False
        self._is_over = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast(asyncio.Transport, transport)  # uvloop's derive from nothing
        door = self._door
        if len(door.handshakes) >= door.max_handshakes:
            self._refuse(TOO_MANY, f"{door.max_handshakes} others are at their handshakes")
            return
        door.handshakes[self] = None
        door.credentials.renewed()
        self._tls = door.credentials.identity.context.wrap_bio(self._in, self._out, server_side=True)
        self._timer = asyncio.get_running_loop().call_later(door.handshake_s, self._give_up)

    def data_received(self, data: bytes) -> None:
        if self._is_over or self._tls is None:
            return
        if not self._has_begun and data[0] != RECORD_HANDSHAKE:
            self._refuse(PLAIN_TEXT, "it speaks no TLS")
            return
        self._has_begun = True
        self._in.write(data)
        if self._behind is None and not self._shake_hands(self._tls):
            return
        self._read(self._tls)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._has_begun and self._behind is None and not self._is_over:
            self._refuse(HANDSHAKE, "it left before the handshake was over")
        self._is_over = True
        self._end_handshake()
        if self._behind is not None:
            self._behind.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._behind is not None:
            self._behind.pause_writing()

    def resume_writing(self) -> None:
        if self._behind is not None:
            self._behind.resume_writing()

    # What the protocol behind calls: a transport's methods, as far as it needs them.

    def write(self, data: bytes) -> None:
        if self._tls is None or self._is_over:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError:  # the client ended TLS, and has not closed yet
            self.abort()
            return
        self._flush()

    def close(self) -> None:
        """After what is written; the client is told that nothing was cut off (close_notify)."""
        if self._is_over:
            return
        if self._tls is not None:
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()  # wants the client's own, for which nobody waits
        self._flush()
        self._is_over = True
        if self._socket is not None:
            self._socket.close()

    def abort(self) -> None:
        self._is_over = True
        self._end_handshake()
        if self._socket is not None:
            self._socket.abort()

    def pause_reading(self) -> None:
        if self._socket is not None:
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        if self._socket is not None:
            self._socket.resume_reading()

    def set_write_buffer_limits(self, high: int) -> None:
        if self._socket is not None:
            self._socket.set_write_buffer_limits(high=high)

    # What follows.

    def _shake_hands(self, tls: ssl.SSLObject) -> bool:
        """One step of it; True once the client was let in."""
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush()  # the alert that tells the client
            self._refuse(*_judge(error))
            return False
        self._flush()
        client = client_of(tls)
        if tls.session_reused and client.expires < self._door.clock():
            self._refuse(EXPIRED, "its certificate has expired since its session began")
            return False
        if not self._door.credentials.admits(client.names):
            self._refuse(WRONG_NAME, f"its certificate is for {', '.join(client.names) or 'no name'}"[:MAX_TOLD])
            return False
        self._end_handshake()
        self._behind = self._make_behind()
        self._behind.connection_made(cast(asyncio.BaseTransport, self))
        return not self._is_over

    def _read(self, tls: ssl.SSLObject) -> None:
        """Hands on all that came whole, at once."""
        pieces: list[bytes] = []
        is_at_end = False
        try:
            while piece := tls.read(READ_BYTES):
                pieces.append(piece)
            is_at_end = True  # close_notify
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            is_at_end = True
        except ssl.SSLError:
            self.abort()
            return
        self._flush()  # a key update is answered
        if pieces and self._behind is not None:
            self._behind.data_received(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if is_at_end:
            self.close()

    def _flush(self) -> None:
        if self._out.pending and self._socket is not None:
            self._socket.write(self._out.read())

    def _refuse(self, reason: str, text: str) -> None:
        socket = self._socket
        peer = socket.get_extra_info("peername") if socket is not None else None
        where = str(peer[0]) if isinstance(peer, tuple) else "somebody"
        self._door.refuse(reason, f"{where}: {text}")
        self._is_over = True
        self._end_handshake()
        if socket is not None:
            socket.close()

    def _give_up(self) -> None:
        if self._has_begun:
            self._refuse(TOO_SLOW, f"no handshake within {self._door.handshake_s:g} s")
        else:
            self.abort()  # a probe that only connects is no client

    def _end_handshake(self) -> None:
        self._door.handshakes.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _judge(error: ssl.SSLError) -> tuple[str, str]:
    """The word for a handshake that failed, and what to say."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in EXPIRED_CODES:
            return EXPIRED, f"its certificate is not valid now ({error.verify_message})"
        return UNKNOWN_CA, f"its certificate is not to be trusted ({error.verify_message})"
    reason = error.reason or "unknown"
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return NO_CERTIFICATE, "it shows no certificate"
    return HANDSHAKE, f"the handshake failed ({reason.lower().replace('_', ' ')})"
