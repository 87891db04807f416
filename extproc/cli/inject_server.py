"""`extproc inject-server`: the mutating admission webhook that puts the pair into labelled pods."""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
import sys
from pathlib import Path

from extproc.attachment.settings import DEFAULT_ENVOY_IMAGE, DEFAULT_IMAGE, MODES, AttachSettings
from extproc.attachment.webhook import CertificateFiles, Webhook
from extproc.model.errors import ConfigError, ExtprocError

DEFAULT_LISTEN = "0.0.0.0:8443"
FOLDER = Path("/etc/extproc/certificates")


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--listen", type=_address, default=_address(DEFAULT_LISTEN), metavar="ADDR", help=f"(default: {DEFAULT_LISTEN})"
    )
    add("--certificate", type=Path, default=FOLDER / "tls.crt", metavar="FILE", help="PEM, read anew when it changes")
    add("--key", type=Path, default=FOLDER / "tls.key", metavar="FILE", help="its key, PEM")
    add("--mode", choices=MODES, default="", help="of pods without the annotation extproc.dev/mode (default: monitor)")
    add("--image", default=DEFAULT_IMAGE, metavar="IMAGE", help="the engine's image")
    add("--envoy-image", default=DEFAULT_ENVOY_IMAGE, metavar="IMAGE", help="Envoy's image")
    add("--legacy", action="store_true", help="plain containers, for clusters without native sidecars")


def run(arguments: argparse.Namespace) -> int:
    settings = AttachSettings(
        default_mode=arguments.mode or "monitor",
        image=arguments.image,
        envoy_image=arguments.envoy_image,
        is_legacy=arguments.legacy,
    )
    files = CertificateFiles(arguments.certificate, arguments.key)
    try:
        webhook = Webhook(settings, files)
    except FileNotFoundError as error:
        raise ConfigError("extproc inject-server", f"{error.filename or files.certificate}: is not there") from error
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("extproc inject-server", f"{files.certificate}: cannot be used: {error}") from error
    return asyncio.run(_serve(webhook, *arguments.listen))


async def _serve(webhook: Webhook, host: str, port: int) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def ready(bound: int) -> None:
        print(f"extproc: injector listens on {host}:{bound}", file=sys.stderr, flush=True)

    try:
        await webhook.serve(host, port, stop, ready)
    except OSError as error:
        raise ExtprocError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return 0


def _address(written: str) -> tuple[str, int]:
    host, _, port = written.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"must be HOST:PORT, not {written!r}")
    return host.strip("[]"), int(port)
