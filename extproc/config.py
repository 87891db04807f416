"""Settings: flags over environment over one YAML file, resolved once into a frozen `Config`.

Each key is defined exactly once, as a field of `Config`: its default, how a written value is read, its
unit and its help. The flag (`--body-limit`), the environment variable (`EXTPROC_BODY_LIMIT`), the file's
key (`body_limit`), `--help` and docs/CONFIGURATION.md all come from that definition.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

import yaml

from extproc.model.errors import ConfigError, yaml_fault
from extproc.model.quantities import parse_duration_ms, parse_size
from extproc.model.route import Route
from extproc.routes import read_routes

T = TypeVar("T")
Reader: TypeAlias = Callable[[object], T]
"""Written value (text, or what YAML made of it) → value. Raises ValueError with a sentence that mends it."""

ENVIRONMENT_PREFIX = "EXTPROC_"
FILE_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"
FILE_LIMIT_BYTES = 1_048_576
"""A larger configuration file is refused: it is the wrong file."""

BODY_LIMIT_RANGE_BYTES = (1024, 64 * 1024 * 1024)
TIME_BUDGET_RANGE_MS = (10, 60_000)
REQUEST_TIMEOUT_RANGE_MS = (0, 86_400_000)
EVENTS_LIMIT_RANGE_BYTES = (65_536, 1024 * 1024 * 1024 * 1024)
WORKERS_RANGE = (0, 64)
TRUSTED_HOPS_RANGE = (0, 16)
STREAMS_RANGE = (1, 1_000_000)
DRAIN_RANGE_SECONDS = (0, 600)
WATCH_RANGE_SECONDS = (0, 3600)
CONNECTION_AGE_RANGE_SECONDS = (0, 604_800)
CONNECTION_GRACE_RANGE_SECONDS = (1, 86_400)
PARANOIA_RANGE = (1, 4)

EVENTS_TO_COLLECTOR = "otlp"
"""Instead of a file of events."""

DEFAULT_GRPC = ("127.0.0.1:9002",)
DEFAULT_HEALTH = "127.0.0.1:9003"
DEFAULT_METRICS = "127.0.0.1:9090"
DEFAULT_ADMIN = "127.0.0.1:9901"
"""Used by `serve` and `envoy-config`; `up` prefers sockets in a private folder and free ports."""

_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?")
_NEAR = 0.7
"""difflib ratio from which an unknown name is taken for a slip of a known one."""

# Kubernetes writes `<SERVICE>_PORT_9002_TCP=...` and the like for every Service of the namespace into the
# environment; a Service called `extproc` must not stop the start.
_SERVICE_LINK = re.compile(r"(?:\w+_)?(?:SERVICE_(?:HOST|PORT)|PORT)(?:_\w*)?")

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text; put it into quotes")
    if any(ord(char) < 0x20 for char in value):
        raise ValueError("must not hold control characters")
    return value


def _texts(value: object) -> tuple[str, ...]:
    """A list, or one text with commas between the items."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError("must be a list of texts")
    return tuple(_text(item.strip() if isinstance(item, str) else item) for item in items)


def _choice(value: object, choices: tuple[str, ...]) -> str:
    if value is False and "off" in choices:  # YAML 1.1 reads a bare `off` as false
        return "off"
    if value not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}, not {value!r}")
    return str(value)


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"must be true or false, not {value!r}")


def _number(value: object, limits: tuple[int, int]) -> int:
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError(f"must be a whole number, not {value!r}")
    return _within(number, limits)


def _within(number: int, limits: tuple[int, int], unit: str = "") -> int:
    low, high = limits
    if not low <= number <= high:
        raise ValueError(f"must be between {low} and {high}{unit}, not {number}")
    return number


def _size(value: object, limits: tuple[int, int] = BODY_LIMIT_RANGE_BYTES) -> int:
    return _within(parse_size(_quantity(value)), limits, " bytes")


def _size_or_0(value: object, limits: tuple[int, int] = BODY_LIMIT_RANGE_BYTES) -> int:
    return 0 if value in (0, "0") and value is not False else _size(value, limits)


def _ratio(value: object) -> float:
    """0 to 1."""
    try:
        ratio = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        ratio = math.nan
    if not 0 <= ratio <= 1:
        raise ValueError(f"must be a share from 0 to 1 such as 0.01, not {value!r}")
    return ratio


def _duration_ms(value: object, limits: tuple[int, int] = TIME_BUDGET_RANGE_MS) -> int:
    return _within(parse_duration_ms(_quantity(value)), limits, " ms")


def _media_types(value: object) -> tuple[str, ...]:
    """`text/html` and the like in lower case; `*/*` alone is all of them: empty."""
    found = tuple(item.lower() for item in _texts(value))
    if found == ("*/*",):
        return ()
    for item in found:
        if _MEDIA_TYPE.fullmatch(item) is None:
            raise ValueError(f"must be media types such as text/html, or */* alone, not {item!r}")
    return found


def _quantity(value: object) -> str:
    """The text of a number with its unit; of what is none, a text that no reader takes."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else repr(value)


def _split(value: object) -> tuple[str, int]:
    """`HOST:PORT` → both; an IPv6 host stands in brackets."""
    host, colon, port = str(value).rpartition(":")
    if not colon or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ValueError(f"must be HOST:PORT such as 127.0.0.1:8080, not {value!r}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"must have its IPv6 address in brackets, such as [::1]:8080, not {value!r}")
    return host, int(port)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(value: object) -> str:
    """An address to listen on: an IP (or localhost) and a port."""
    host, port = _split(value)
    if host == "localhost":
        host = "127.0.0.1"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"must begin with an IP such as 127.0.0.1 or 0.0.0.0, not {host!r}") from None
    return _joined(host, port)


def _app_address(value: object) -> str:
    """An address to connect to: an IP or a DNS name, and a port."""
    if "://" in str(value):
        raise ValueError(f"must be HOST:PORT without a scheme, not {value!r}")
    host, port = _split(value)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if _HOST_NAME.fullmatch(host) is None or host.replace(".", "").isdecimal():
            raise ValueError(f"must begin with an IP or a host name, not {host!r}") from None
    return _joined(host, port)


def _app_addresses(value: object) -> tuple[str, ...]:
    return tuple(_app_address(item) for item in _texts(value))


def _socket(value: object) -> str:
    """An address to listen on, or `unix:PATH`."""
    if isinstance(value, str) and value.startswith("unix:"):
        path = _text(value.removeprefix("unix:"))
        if len(path.encode()) > SOCKET_PATH_LIMIT_BYTES:
            raise ValueError(f"must be at most {SOCKET_PATH_LIMIT_BYTES} bytes long (a limit of unix sockets)")
        return value
    return _address(value)


SOCKET_PATH_LIMIT_BYTES = 100
"""`sun_path` of unix(7) is 108 bytes, its closing zero included; a worker begins under a name that is longer by a dot
and its process id in hexadecimal."""


def _address_or_off(value: object) -> str:
    return "off" if value in ("off", False) else _address(value)


def _url(value: object) -> str:
    """`http://HOST:PORT`, without a path."""
    written = urlsplit(_text(value))
    if written.scheme not in ("http", "https") or not written.hostname or written.query or written.fragment:
        raise ValueError(f"must be a URL such as http://127.0.0.1:4318, not {value!r}")
    return str(value)


def _sockets(value: object) -> tuple[str, ...]:
    found = tuple(_socket(item) for item in _texts(value))
    if len(set(found)) != len(found):
        raise ValueError("must not name an address twice: each worker needs its own")
    return found


def _path_prefixes(value: object) -> tuple[str, ...]:
    prefixes = _texts(value)
    for prefix in prefixes:
        if not prefix.startswith("/"):
            raise ValueError(f"must be paths that begin with /, not {prefix!r}")
    return prefixes


def _routes(value: object) -> tuple[Route, ...]:
    return read_routes(value, _size, _duration_ms)


def setting(default: T, read: Reader[T], help: str, *, unit: str = "", metavar: str = "", flag: str = "") -> T:
    """The definition of one key; a `Config` field is written with it. `flag` where it is not the key's own name."""
    return field(
        default=default, metadata={"read": read, "help": help, "unit": unit, "metavar": metavar, "own_flag": flag}
    )


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, resolved. Addresses are `IP:PORT` or `unix:PATH`; "" means: not set.

    `sources` tells where each key that is not a default came from, as the user wrote it
    (`--mode`, `EXTPROC_MODE`, `waf.yaml: mode`).
    """

    listen: str = setting("", _address, "where clients connect: the address of Envoy", metavar="ADDR")
    app: str = setting("", _app_address, "the protected app; only Envoy should reach it", metavar="ADDR")
    app_protocol: str = setting(
        "http1",
        partial(_choice, choices=("http1", "http2")),
        "what the app speaks; gRPC needs http2, with prior knowledge (h2c)",
        metavar="http1|http2",
    )
    grpc: tuple[str, ...] = setting(
        (), _sockets, "where the engine listens, once per worker (default: 127.0.0.1:9002)", metavar="ADDR|unix:PATH"
    )
    tls_cert: str = setting(
        "", _text, "the engine listens with TLS, and this is its certificate (PEM, with its chain)", metavar="FILE"
    )
    tls_key: str = setting("", _text, "the key of that certificate", metavar="FILE")
    tls_client_ca: str = setting(
        "", _text, "only clients with a certificate of this CA may call the engine", metavar="FILE"
    )
    tls_client_names: tuple[str, ...] = setting(
        (),
        _texts,
        "of those only who bears this name (DNS or URI, such as spiffe://...); none: all of them",
        metavar="NAME",
        flag="--tls-client-name",
    )
    engine: tuple[str, ...] = setting(
        (),
        _app_addresses,
        "the engine that Envoy asks is elsewhere: its name is looked up again and again (default: --grpc)",
        metavar="ADDR",
    )
    engine_ca: str = setting("", _text, "Envoy asks with TLS: the CA of the engine's certificate", metavar="FILE")
    engine_cert: str = setting("", _text, "the certificate that Envoy shows the engine", metavar="FILE")
    engine_key: str = setting("", _text, "the key of that certificate", metavar="FILE")
    engine_name: str = setting(
        "",
        _text,
        "the DNS name in the engine's certificate (default: the host of --engine)",
        metavar="NAME",
    )
    engine_secrets: str = setting(
        "",
        _text,
        "a folder for two files by way of which Envoy reads these three, so that renewed ones need no restart",
        metavar="DIR",
    )
    connection_age_seconds: int = setting(
        0,
        partial(_number, limits=CONNECTION_AGE_RANGE_SECONDS),
        "age at which a client is asked to open another connection, give or take a tenth; 0: never",
        unit="s",
    )
    connection_grace_seconds: int = setting(
        300,
        partial(_number, limits=CONNECTION_GRACE_RANGE_SECONDS),
        "patience with the requests of a connection of that age",
        unit="s",
    )
    health: str = setting(
        "", _address_or_off, "where the engine answers health checks (default: 127.0.0.1:9003)", metavar="ADDR|off"
    )
    metrics: str = setting(
        "", _address_or_off, "where Prometheus scrapes the engine (default: 127.0.0.1:9090)", metavar="ADDR|off"
    )
    otlp: str = setting(
        "", _url, "an OTLP collector that gets the metrics, by HTTP, and spans and events if wanted", metavar="URL"
    )
    traces: float = setting(
        0.0,
        _ratio,
        "share of the requests without a traceparent that give a span to --otlp; those with one as it says; 0: none",
        metavar="RATIO",
    )
    admin: str = setting(
        "", _socket, "Envoy's admin, never to be published (default: 127.0.0.1:9901)", metavar="ADDR|unix:PATH"
    )
    rules: tuple[str, ...] = setting(
        (), _texts, "SecLang file, or the name of a shipped set; replaces the shipped rules", metavar="FILE|NAME"
    )
    crs: str = setting("", _text, "a checkout of the OWASP Core Rule Set, to be used beside or as rules", metavar="DIR")
    profile: str = setting(
        "own",
        partial(_choice, choices=("own", "crs", "crs-api", "own+crs")),
        "which rules run",
        metavar="own|crs|crs-api|own+crs",
    )
    paranoia: int = setting(1, partial(_number, limits=PARANOIA_RANGE), "paranoia level of the Core Rule Set")
    decode: str = setting(
        "plain",
        partial(_choice, choices=("plain", "nested")),
        "nested: rules of the Core Rule Set that look for attacks see what values hold in other spellings, too",
        metavar="plain|nested",
    )
    mode: str = setting(
        "monitor",
        partial(_choice, choices=("off", "monitor", "block")),
        "what happens to a request that the rules would deny; policy and rules can only weaken it",
        metavar="off|monitor|block",
    )
    policy: str = setting("", _text, "modes, exclusions and limits per route, host and path", metavar="FILE")
    shadow: tuple[str, ...] = setting(
        (),
        _texts,
        "rules that run beside the others and decide nothing: what they would do is told",
        metavar="FILE|NAME",
    )
    workers: int = setting(
        0,
        partial(_number, limits=WORKERS_RANGE),
        "engine processes; 0: one per --grpc, and in `up` one per core of the CPU quota",
    )
    body_limit: int = setting(
        128 * 1024,
        _size,
        "largest request body; a larger one is answered 413 and never reaches the app",
        unit="bytes",
        metavar="SIZE",
    )
    time_budget: int = setting(
        500,
        _duration_ms,
        "time the inspection of one request may take; beyond it the request is refused with 503",
        unit="ms",
        metavar="TIME",
    )
    max_streams: int = setting(
        16_384,
        partial(_number, limits=STREAMS_RANGE),
        "requests that one engine process inspects at a time; one more is answered 503 at once",
    )
    upgrade_paths: tuple[str, ...] = setting(
        (), _path_prefixes, "path prefix on which WebSocket is allowed; its frames are not inspected", metavar="PREFIX"
    )
    routes: tuple[Route, ...] = setting(
        (),
        _routes,
        "requests that are not inspected like the others; PROFILE is standard, upload or stream",
        metavar="PREFIX=PROFILE",
        flag="--route",
    )
    envoy_patch: str = setting(
        "", _text, "YAML of the shape of Envoy's bootstrap, laid over the rendered one (TLS, tracing)", metavar="FILE"
    )
    accept_risks: tuple[str, ...] = setting(
        (),
        _texts,
        "a hole that the configuration may open all the same, by the name that the refusal gave",
        metavar="NAME",
        flag="--accept-risk",
    )
    trusted_hops: int = setting(
        0,
        partial(_number, limits=TRUSTED_HOPS_RANGE),
        "proxies in front whose X-Forwarded-For entries are true; 0: the peer is the client",
    )
    request_timeout: int = setting(
        30_000,
        partial(_duration_ms, limits=REQUEST_TIMEOUT_RANGE_MS),
        "time until a request must be there whole, or the app have begun to answer it; then 408; 0: no limit",
        unit="ms",
        metavar="TIME",
    )
    response: bool = setting(False, _switch, "inspect responses too (costs a round trip and holds them back)")
    response_types: tuple[str, ...] = setting(
        ("text/plain", "text/html", "text/xml", "application/json"),
        _media_types,
        "responses whose bodies are inspected; all others flow, by their headers; */* is all",
        metavar="TYPE",
    )
    response_limit: int = setting(
        0,
        _size_or_0,
        "how much of a response's body is inspected, at most body_limit, and 0 means that; the rest passes",
        unit="bytes",
        metavar="SIZE",
    )
    events: str = setting(
        "", _text, "write one JSON line per decision; - is stdout, otlp the collector", metavar="FILE|-|otlp"
    )
    events_limit: int = setting(
        0,
        partial(_size_or_0, limits=EVENTS_LIMIT_RANGE_BYTES),
        "size at which a file of events is moved to FILE.1, five of which are kept; 0: never",
        unit="bytes",
        metavar="SIZE",
    )
    lines: str = setting(
        "auto",
        partial(_choice, choices=("auto", "all", "denied", "off")),
        "decisions told on stderr; denied: what matched or was not wholly inspected; auto: all in `up`, else denied",
        metavar="auto|all|denied|off",
    )
    access_log: str = setting(
        "", _text, "Envoy's own log, one JSON line per request; - is stdout", metavar="FILE|-|off"
    )
    drain_seconds: int = setting(
        5, partial(_number, limits=DRAIN_RANGE_SECONDS), "patience with open requests when stopping", unit="s"
    )
    drain_delay_seconds: int = setting(
        3,
        partial(_number, limits=DRAIN_RANGE_SECONDS),
        "from NOT_SERVING to the closed port; longer than Envoy needs to notice (2 s)",
        unit="s",
    )
    transport: str = setting(
        "http2",
        partial(_choice, choices=("http2", "grpc")),
        "what carries ext_proc: the engine's own HTTP/2, or grpc.aio, slower and compatible with anything",
        metavar="http2|grpc",
    )
    watch_seconds: int = setting(
        1,
        partial(_number, limits=WATCH_RANGE_SECONDS),
        "between two looks at the files of rules, policy and configuration; what changed is loaded anew without "
        "a restart; 0: only on SIGHUP",
        unit="s",
    )
    reflection: bool = setting(False, _switch, "gRPC server reflection, for debugging")
    bootstrap: str = setting(
        "",
        _text,
        "Envoy's bootstrap is written here: by `serve` before it is ready, by `envoy-config` instead of to stdout",
        metavar="FILE",
    )
    envoy: str = setting("", _text, "the Envoy binary (default: beside this Python, else on PATH)", metavar="FILE")
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Setting:
    """One key as parsers and documents see it. `unit` is that of the stored number."""

    name: str
    default: Any
    read: Reader[Any]
    help: str
    unit: str
    metavar: str
    own_flag: str = ""

    @property
    def flag(self) -> str:
        return self.own_flag or "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def is_repeatable(self) -> bool:
        return isinstance(self.default, tuple)

    @property
    def is_switch(self) -> bool:
        return isinstance(self.default, bool)


SETTINGS: dict[str, Setting] = {
    definition.name: Setting(definition.name, definition.default, **definition.metadata)
    for definition in dataclasses.fields(Config)
    if definition.metadata
}
"""Every key, in the order of the documents."""


def resolve(flags: Mapping[str, object], environment: Mapping[str, str], file: Path | None = None) -> Config:
    """Flags over environment over file → Config.

    `flags` holds only what was given, by key. `file` falls back to `EXTPROC_CONFIG`.
    Raises ConfigError, which names the key as the user wrote it.
    """
    if file is None and environment.get(FILE_VARIABLE):
        file = Path(environment[FILE_VARIABLE])
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for origin in (_from_file(file) if file else (), _from_environment(environment), _from_flags(flags)):
        for name, written, value in origin:
            try:
                values[name] = SETTINGS[name].read(value)
            except ValueError as error:
                raise ConfigError(written, str(error)) from error
            sources[name] = written
    return Config(**values, sources=sources)


def _from_flags(flags: Mapping[str, object]) -> Iterable[tuple[str, str, object]]:
    for name, value in flags.items():
        yield name, SETTINGS[name].flag, value


def _from_environment(environment: Mapping[str, str]) -> Iterable[tuple[str, str, object]]:
    by_variable = {definition.variable: name for name, definition in SETTINGS.items()}
    for variable, value in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == FILE_VARIABLE:
            continue
        if variable in by_variable:
            if value:  # an empty variable is how a shell or a manifest says "not set"
                yield by_variable[variable], variable, value
        elif not _SERVICE_LINK.fullmatch(variable.removeprefix(ENVIRONMENT_PREFIX)):
            # A variable that merely shares the prefix may belong to somebody else; a slip does not.
            near = difflib.get_close_matches(variable, by_variable, n=1, cutoff=0.85)
            if near:
                raise ConfigError(variable, f"is not a setting; did you mean {near[0]}?")


def _from_file(file: Path) -> Iterable[tuple[str, str, object]]:
    for name, value in read_file(file).items():
        yield name, f"{file}: {name}", value


def read_file(file: Path) -> dict[str, object]:
    """The keys of one YAML file, names checked, values not yet read. Raises ConfigError."""
    try:
        with file.open("rb") as stream:
            text = stream.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read: {error.strerror}") from error
    if len(text) > FILE_LIMIT_BYTES:
        raise ConfigError(str(file), f"is larger than {FILE_LIMIT_BYTES} bytes; it is hardly a configuration")
    try:
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506  # a SafeLoader that also refuses duplicate keys
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(str(file), f"is not valid YAML: {yaml_fault(error)}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(str(file), "must hold `key: value` lines")
    for name in tree:
        if name not in SETTINGS:
            near = difflib.get_close_matches(str(name), SETTINGS, n=1, cutoff=_NEAR)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(SETTINGS)}"
            raise ConfigError(f"{file}: {name}", f"is not a setting; {hint}")
    return tree


class _Loader(yaml.SafeLoader):
    """YAML that keeps no silent winner: a key written twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is written twice", key_node.start_mark)
            if isinstance(key, str):
                seen.add(key)
        return super().construct_mapping(node, deep)


def shown_default(definition: Setting) -> str:
    """The default as a user would write it; "" when there is none."""
    default = definition.default
    if definition.name == "body_limit":
        return f"{default // 1024}KiB"
    if definition.unit == "ms":
        return f"{default}ms" if default % 1000 else f"{default // 1000}s"
    if default and isinstance(default, tuple):
        return ", ".join(default)
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    return "" if default in ((), "") else str(default)


def describe_settings() -> str:
    """The table of docs/CONFIGURATION.md, Markdown."""
    rows = ["| key | flag | environment | default | meaning |", "|---|---|---|---|---|"]
    for definition in SETTINGS.values():
        default = shown_default(definition)
        repeat = "; may repeat" if definition.is_repeatable else ""
        rows.append(
            f"| `{definition.name}` | `{definition.flag}` | `{definition.variable}` "
            f"| {f'`{default}`' if default else ''} | {definition.help}{repeat} |"
        )
    return "\n".join(rows) + "\n"
