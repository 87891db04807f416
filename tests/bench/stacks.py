"""The stacks that `make bench-pair` compares: how each is started, as its users run it, on free ports of loopback.

All get the same Core Rule Set with the same lines before it, phases 1, 2 and 5: the files of response rules are
left out where a stack would run them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from extproc.model.errors import ConfigError
from extproc.proxy.binary import envoy_arguments, envoy_threads, find_envoy
from extproc.proxy.bootstrap import ProxySettings, render
from extproc.server.settings import default_workers
from tests.bench.engines import CRS, PROCESSORS, Missing, seclang_of
from tests.bench.processes import Process, accepts, free_port, python
from tests.bench.report import OUTPUT, ROOT

BODY_LIMIT_BYTES = 131_072
TIME_BUDGET_MS = 10_000
"""Envoy waits so long for a peer's answer; ours has its own default."""

PEERS = ROOT / "tests" / "bench" / "peers"
GO_CANDIDATES = ("go", "/usr/local/go/bin/go")
GO_BUILD_LIMIT_S = 900

NGINX_MODULE = Path("/usr/lib/nginx/modules/ngx_http_modsecurity_module.so")
NGINX_PACKAGES = ("nginx", "libnginx-mod-http-modsecurity")
APT_LIMIT_S = 300

NGINX_CONF = """\
{module}
daemon off;
user root;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  # Bodies stay in memory: with the default of 16 KB larger ones would go through files.
  client_body_buffer_size 256k;
  client_max_body_size 2m;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  keepalive_requests 1000000;
  upstream app {{ server 127.0.0.1:{app}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    {inspection}
    location / {{
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
    }}
  }}
}}
"""


@dataclass(slots=True)
class Stack:
    """One way to stand before the app, running. `inspects`: should it block attacks?"""

    name: str
    port: int
    processes: list[Process]
    inspects: bool

    def cpu_s(self) -> float:
        """CPU seconds so far, all processes."""
        return sum(process.cpu_s() for process in self.processes)

    def stop(self) -> None:
        """Leaves nothing running."""
        for process in self.processes:
            process.stop()


@dataclass(frozen=True, slots=True)
class Place:
    """Where stacks are started: the app's port and a folder for files."""

    app: int
    folder: Path


def _await(stack: Stack) -> Stack:
    """Raises Missing when it does not start."""
    try:
        stack.processes[-1].await_ready(lambda: accepts(stack.port))
    except RuntimeError as error:
        stack.stop()
        raise Missing(str(error)) from error
    return stack


# Envoy


def _envoy(place: Place, name: str, engines: tuple[str, ...], threads: int) -> tuple[int, Process]:
    """Envoy as `extproc envoy-config` sets it up; without engines, without the filter that asks them."""
    try:
        binary = find_envoy("")
    except ConfigError as error:
        raise Missing(str(error)) from error
    port = free_port()
    settings = ProxySettings(
        listen=f"127.0.0.1:{port}",
        app=f"127.0.0.1:{place.app}",
        engine=engines or ("127.0.0.1:1",),
        admin=f"127.0.0.1:{free_port()}",
        body_limit_bytes=BODY_LIMIT_BYTES,
        time_budget_ms=TIME_BUDGET_MS,
    )
    tree = render(settings)
    if not engines:
        _without_engine(tree)
    file = place.folder / f"{name.replace(' ', '-')}.yaml"
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    return port, Process(f"{name} envoy", envoy_arguments(binary, file, threads), place.folder)


def _without_engine(tree: dict[str, Any]) -> None:
    resources = tree["static_resources"]
    resources["clusters"] = [cluster for cluster in resources["clusters"] if cluster["name"] != "extproc"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = manager["http_filters"][-1:]  # the router


def envoy_alone(place: Place) -> Stack:
    """What there is before any inspection."""
    port, envoy = _envoy(place, "Envoy", (), default_workers())
    return _await(Stack("Envoy alone", port, [envoy], inspects=False))


def envoy_noop(variant: str) -> Callable[[Place], Stack]:
    """Asks a server that looks at nothing, one process per core as extproc has it."""
    return lambda place: _envoy_noop(place, variant)


def _envoy_noop(place: Place, variant: str) -> Stack:
    addresses = tuple(f"127.0.0.1:{free_port()}" for _ in range(default_workers()))
    servers = [
        Process(f"noop {variant} {number}", python("-m", "tests.bench.peers.noop", variant, address), place.folder)
        for number, address in enumerate(addresses)
    ]
    for server, address in zip(servers, addresses, strict=True):
        server.await_ready(partial(accepts, int(address.rpartition(":")[2])))
    port, envoy = _envoy(place, f"noop {variant}", addresses, envoy_threads(len(addresses)))
    return _await(Stack(NOOPS[variant], port, [*servers, envoy], inspects=False))


def envoy_extproc(rules: str, transport: str = "") -> Callable[[Place], Stack]:
    """`extproc up` as a user types it; `transport` is another one than what is shipped."""

    def start(place: Place) -> Stack:
        seclang_of(rules)
        port = free_port()
        argv = ["up", "--listen", f"127.0.0.1:{port}", "--app", f"127.0.0.1:{place.app}", "--mode", "block"]
        if rules != "own":
            argv += ["--crs", str(CRS), "--paranoia", rules[-1]]
        name = f"Envoy + extproc {LABELS[rules]}"
        if transport:
            argv += ["--transport", transport]
            name += f", {transport}"
        return _await(Stack(name, port, [Process(name, python("-m", "extproc", *argv), place.folder)], inspects=True))

    return start


NOOPS: Mapping[str, str] = {"natural": "Envoy + no-op grpc.aio", "cheapest": "Envoy + no-op grpc.aio, cheapest"}

LABELS: Mapping[str, str] = {"own": "own rules", "crs-pl1": "CRS PL1", "crs-pl2": "CRS PL2"}


# nginx


def nginx_alone(place: Place) -> Stack:
    """The base of what ModSecurity adds."""
    _find_nginx()
    return _nginx(place, "nginx alone", "", "", inspects=False)


def nginx_modsecurity(place: Place) -> Stack:
    """The Debian packages; rules as a file."""
    _find_nginx()
    rules = _rules_file(place, "nginx-modsecurity.conf")
    inspection = f"modsecurity on; modsecurity_rules_file {rules};"
    return _nginx(place, "nginx + ModSecurity", f"load_module {NGINX_MODULE};", inspection, inspects=True)


def _nginx(place: Place, name: str, module: str, inspection: str, inspects: bool) -> Stack:
    port = free_port()
    folder = place.folder / name.replace(" ", "-")
    folder.mkdir()
    conf = folder / "nginx.conf"
    conf.write_text(
        NGINX_CONF.format(
            module=module, workers=default_workers(), folder=folder, app=place.app, port=port, inspection=inspection
        )
    )
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nginx"
    process = Process(name, [nginx, "-c", str(conf), "-e", str(folder / "nginx-error.log")], place.folder)
    return _await(Stack(name, port, [process], inspects))


def _find_nginx() -> None:
    """Installs the packages where that is allowed. Raises Missing."""
    if NGINX_MODULE.exists():
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Missing(f"no nginx with ModSecurity; as root: apt-get install {' '.join(NGINX_PACKAGES)}")
    # RUNLEVEL=1: the package's own service is not started.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *NGINX_PACKAGES]):
        argv = ["apt-get", "-qq", *command]
        try:
            done = subprocess.run(
                argv, env=environment, capture_output=True, text=True, timeout=APT_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Missing(f"{' '.join(argv)} took more than {APT_LIMIT_S} s") from error
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            raise Missing(f"{' '.join(argv)}: {said[-1] if said else done.returncode}")


def _rules_file(place: Place, name: str) -> Path:
    """The Core Rule Set at PL1 for an engine that is told everything in SecLang."""
    preamble, files = seclang_of("crs-pl1")
    includes = [f"Include {file}" for file in files if not file.name.startswith("RESPONSE-95")]
    path = place.folder / name
    limit = f"SecRequestBodyLimit {BODY_LIMIT_BYTES}\n"
    path.write_text("\n".join([preamble, PROCESSORS, limit, *includes, ""]))
    return path


# Coraza


def coraza_extproc(place: Place) -> Stack:
    """Coraza in a Go ext_proc server, asked by the same Envoy."""
    binary = _build("extproc")
    address = f"127.0.0.1:{free_port()}"
    server = Process("coraza", [str(binary), address, str(_rules_file(place, "coraza-extproc.conf"))], place.folder)
    try:
        server.await_ready(lambda: accepts(int(address.rpartition(":")[2])))
    except RuntimeError as error:
        server.stop()
        raise Missing(str(error)) from error
    port, envoy = _envoy(place, "coraza", (address,), envoy_threads(default_workers()))
    return _await(Stack("Envoy + Coraza ext_proc", port, [server, envoy], inspects=True))


def coraza_proxy(place: Place) -> Stack:
    """Coraza in a reverse proxy of Go's standard library."""
    binary = _build("proxy")
    port = free_port()
    rules = _rules_file(place, "coraza-proxy.conf")
    argv = [str(binary), f"127.0.0.1:{port}", f"127.0.0.1:{place.app}", str(rules)]
    return _await(Stack("Coraza Go proxy", port, [Process("coraza proxy", argv, place.folder)], inspects=True))


def _build(command: str) -> Path:
    """build/bench/coraza-COMMAND, built of peers/coraza with the versions of its go.sum. Raises Missing."""
    go = next((found for name in GO_CANDIDATES if (found := shutil.which(name))), None)
    if go is None:
        raise Missing("no Go toolchain on PATH or in /usr/local/go")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    path = OUTPUT / f"coraza-{command}"
    try:
        done = subprocess.run(
            [go, "build", "-mod=readonly", "-o", str(path), f"./{command}"],
            cwd=PEERS / "coraza",
            env={**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "", "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            timeout=GO_BUILD_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Missing(f"go build took more than {GO_BUILD_LIMIT_S} s") from error
    if done.returncode != 0:
        raise Missing(f"go build: {done.stderr.strip().splitlines()[-1]}")
    return path


STACKS: dict[str, Callable[[Place], Stack]] = {
    "Envoy alone": envoy_alone,
    **{name: envoy_noop(variant) for variant, name in NOOPS.items()},
    "Envoy + extproc own rules": envoy_extproc("own"),
    "Envoy + extproc CRS PL1": envoy_extproc("crs-pl1"),
    "Envoy + extproc CRS PL1, grpc": envoy_extproc("crs-pl1", "grpc"),
    "Envoy + extproc CRS PL2": envoy_extproc("crs-pl2"),
    "nginx alone": nginx_alone,
    "nginx + ModSecurity": nginx_modsecurity,
    "Envoy + Coraza ext_proc": coraza_extproc,
    "Coraza Go proxy": coraza_proxy,
}
"""In the order of the table."""
