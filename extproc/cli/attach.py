"""`extproc attach`: manifests in, the same manifests with the pair in them out; nothing is sent to a cluster."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from extproc.attachment.manifests import Manifests, Result
from extproc.attachment.settings import DEFAULT_ENVOY_IMAGE, DEFAULT_IMAGE, MODES, WAYS, AttachError, AttachSettings
from extproc.attachment.yaml_text import DOCUMENT_LIMIT_BYTES, YamlTextError
from extproc.model.errors import ConfigError

STDIN = "-"


def configure(parser: argparse.ArgumentParser) -> None:
    add_files(parser)
    add = parser.add_argument
    add(
        "--to",
        choices=WAYS,
        default="sidecar",
        help="who asks the engine (default: an Envoy of ours, beside the app)",
    )
    add("--mode", choices=MODES, default="", help="of the engine (default: monitor, or the pod's annotation)")
    add("--policy", default="", metavar="NAME", help="a ConfigMap that holds policy.yaml")
    add("--app-port", default="", metavar="PORT|NAME", help="the app's port, if the pod declares several or none")
    add("--container", default="", metavar="NAME", help="the app's container, if several declare that port")
    add("--listen-port", type=_port, default=0, metavar="PORT", help="Envoy's port (default: 8000)")
    add("--port-name", default="", metavar="NAME", help="name of Envoy's port (default: the app's port's, else http)")
    add(
        "--target-port",
        choices=("name", "number", "keep"),
        default="",
        help="what becomes of a Service that leads to the app's port by number",
    )
    add("--image", default=DEFAULT_IMAGE, metavar="IMAGE", help="the engine's image")
    add("--envoy-image", default=DEFAULT_ENVOY_IMAGE, metavar="IMAGE", help="Envoy's image")
    add("--network-policy", action="store_true", help="also write the policy that closes the app's own port")
    add("--legacy", action="store_true", help="plain containers, for clusters without native sidecars")
    add("--accept-host-network", action="store_true", help="attach although the pod shares the node's network")


def add_files(parser: argparse.ArgumentParser) -> None:
    """What `attach` and `detach` read and write alike."""
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="manifests; - is stdin (`kubectl get deploy,svc -o yaml | ... -`)")
    add("-f", "--filename", action="append", default=[], metavar="FILE", help="the same, as kubectl takes it")
    add("--workload", default="", metavar="KIND/NAME", help="which one, if there are several")
    add("--diff", action="store_true", help="write what changes instead of the whole")


def run(arguments: argparse.Namespace) -> int:
    settings = AttachSettings(
        to=arguments.to,
        mode=arguments.mode,
        policy=arguments.policy,
        app_port=arguments.app_port,
        container=arguments.container,
        listen_port=arguments.listen_port,
        port_name=arguments.port_name,
        target_port=arguments.target_port,
        image=arguments.image,
        envoy_image=arguments.envoy_image,
        is_host_network_accepted=arguments.accept_host_network,
        is_legacy=arguments.legacy,
    )
    names, texts = read_files([*arguments.files, *arguments.filename])
    try:
        manifests = Manifests(names, texts)
        result = manifests.attach(settings, arguments.workload, closes_app_port=arguments.network_policy)
    except (AttachError, YamlTextError) as error:
        raise ConfigError("extproc attach", str(error)) from error
    write_result(names, texts, result, is_diff=arguments.diff)
    return 0


def read_files(files: list[str]) -> tuple[list[str], list[str]]:
    """(names, texts). Raises ConfigError for what cannot be read."""
    if not files:
        raise ConfigError("extproc", "name the files with your workload and its Service, or - for stdin")
    texts = []
    for name in files:
        try:
            raw = sys.stdin.buffer.read(DOCUMENT_LIMIT_BYTES + 1) if name == STDIN else _read(name)
            texts.append(raw.decode())
        except OSError as error:
            raise ConfigError(name, f"cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(name, "is not UTF-8 text") from error
        if len(raw) > DOCUMENT_LIMIT_BYTES:
            raise ConfigError(name, f"is larger than {DOCUMENT_LIMIT_BYTES} bytes; it is hardly a manifest")
    return files, texts


def _read(name: str) -> bytes:
    with Path(name).open("rb") as stream:
        return stream.read(DOCUMENT_LIMIT_BYTES + 1)


def write_result(names: list[str], before: list[str], result: Result, *, is_diff: bool) -> None:
    """Manifests, or their diff, to stdout; the notes to stderr."""
    if is_diff:
        for name, old, new in zip(names, before, result.texts, strict=True):
            shown = "stdin" if name == STDIN else name
            for line in difflib.unified_diff(_lines(old), _lines(new), shown, f"{shown} (changed)"):
                sys.stdout.write(line if line.endswith("\n") else f"{line}\n")
    else:
        written = ""
        for text in result.texts:
            if written and text:
                written += "" if written.endswith("\n") else "\n"
                written += "" if text.startswith("---") else "---\n"
            written += text
        sys.stdout.write(written)
    for note in result.notes:
        print(f"extproc: {note}", file=sys.stderr)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _port(written: str) -> int:
    number = int(written) if written.isdecimal() else 0
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"must be a TCP port, not {written!r}")
    return number
