"""The injector as an HTTPS server: `/mutate` for the API server, `/healthz`, `/readyz` and `/metrics` for the rest."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

from extproc.attachment.admission import ReviewError, review
from extproc.attachment.settings import AttachSettings

BODY_LIMIT_BYTES = 8 * 1024 * 1024
"""Longest AdmissionReview; the API server takes objects of 3 MiB, and a review holds up to two."""

RELOAD_S = 5.0
"""Between two looks at the certificate's files."""

OUTCOMES = ("injected", "unchanged", "denied", "invalid")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files, as cert-manager or a Secret lays them: read anew when they change."""

    certificate: Path
    key: Path

    def stamp(self) -> tuple[int, int, int, int]:
        """Differs when one of the files does. Raises OSError."""
        one, other = self.certificate.stat(), self.key.stat()
        return one.st_mtime_ns, one.st_ino, other.st_mtime_ns, other.st_ino


class Webhook:
    """`serve` until `stop`. Listening sockets, certificates and metrics in one place; the decision is elsewhere."""

    def __init__(self, settings: AttachSettings, files: CertificateFiles) -> None:
        """Raises OSError or ssl.SSLError for a certificate that cannot be used."""
        self._settings = settings
        self._files = files
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._stamp = files.stamp()
        self._context.load_cert_chain(files.certificate, files.key)
        self._registry = CollectorRegistry()
        self._reviews = Counter("extproc_injector_reviews", "Answers by outcome", ["outcome"], registry=self._registry)
        for outcome in OUTCOMES:
            self._reviews.labels(outcome)
        self._certificate_good = Gauge(
            "extproc_injector_certificate_good",
            "0 while the certificate's files cannot be read and the former one is served",
            registry=self._registry,
        )
        self._certificate_good.set(1)

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=BODY_LIMIT_BYTES)
        app.router.add_post("/mutate", self._mutate)
        app.router.add_get("/healthz", self._fine)
        app.router.add_get("/readyz", self._fine)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def serve(self, host: str, port: int, stop: asyncio.Event, ready: Callable[[int], None]) -> None:
        """Listens until `stop`, then answers what is open. Calls `ready` with the port. Raises OSError."""
        runner = web.AppRunner(self.app(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, host, port, ssl_context=self._context)
        reloading = asyncio.create_task(self._reload())
        try:
            await site.start()
            ready(runner.addresses[0][1])
            await stop.wait()
        finally:
            reloading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reloading
            await runner.cleanup()

    async def _mutate(self, request: web.Request) -> web.Response:
        try:
            answer = review(await request.read(), self._settings)
        except ReviewError as error:
            self._reviews.labels("invalid").inc()
            return web.Response(status=400, text=f"{error}\n")
        self._reviews.labels(answer.outcome).inc()
        response = answer.review["response"]
        if answer.outcome == "denied":
            print(f"extproc: denied {response['uid']}: {response['status']['message']}", file=sys.stderr, flush=True)
        return web.Response(text=json.dumps(answer.review), content_type="application/json")

    async def _fine(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST})

    async def _reload(self) -> None:
        """New connections get the new certificate; a broken one leaves the former in place, and says so once."""
        is_good = True
        while True:
            await asyncio.sleep(RELOAD_S)
            try:
                stamp = self._files.stamp()
                if stamp == self._stamp:
                    continue
                # In a context of its own first: a context that took half of a pair would serve nothing.
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                    self._files.certificate, self._files.key
                )
                self._context.load_cert_chain(self._files.certificate, self._files.key)
            except (OSError, ssl.SSLError) as error:
                if is_good:
                    text = f"extproc: the certificate cannot be used, the former one stays: {error}"
                    print(text, file=sys.stderr, flush=True)
                is_good = False
                self._certificate_good.set(0)
                continue
            self._stamp, is_good = stamp, True
            self._certificate_good.set(1)
            print("extproc: new certificate", file=sys.stderr, flush=True)
