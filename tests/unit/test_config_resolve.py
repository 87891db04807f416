"""Settings: who wins, what is read, what is refused and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from extproc.config import (
    BODY_LIMIT_RANGE_BYTES,
    FILE_LIMIT_BYTES,
    SETTINGS,
    SOCKET_PATH_LIMIT_BYTES,
    Config,
    describe_settings,
    resolve,
)
from extproc.model.errors import ConfigError

ROOT = Path(__file__).parents[2]


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "waf.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_defaults() -> None:
    config = resolve({}, {})
    assert config == Config()
    assert (config.mode, config.profile, config.body_limit, config.time_budget) == ("monitor", "own", 131_072, 500)
    assert config.sources == {}


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    file = write(tmp_path, "mode: off\nworkers: 1\nparanoia: 2\n")
    config = resolve({"mode": "block"}, {"EXTPROC_MODE": "monitor", "EXTPROC_WORKERS": "3"}, file)
    assert (config.mode, config.workers, config.paranoia) == ("block", 3, 2)
    assert config.sources == {"mode": "--mode", "workers": "EXTPROC_WORKERS", "paranoia": f"{file}: paranoia"}


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "workers: 4\n")
    assert resolve({}, {"EXTPROC_CONFIG": str(file)}).workers == 4


VALUES: list[tuple[str, object, object]] = [
    ("listen", "127.0.0.1:8080", "127.0.0.1:8080"),
    ("listen", "localhost:8080", "127.0.0.1:8080"),
    ("listen", "[::1]:8080", "[::1]:8080"),
    ("app", "app.internal:80", "app.internal:80"),
    ("grpc", "127.0.0.1:1,unix:/run/a.sock", ("127.0.0.1:1", "unix:/run/a.sock")),
    ("grpc", ["unix:/run/a.sock"], ("unix:/run/a.sock",)),
    ("grpc", "unix:/" + "a" * (SOCKET_PATH_LIMIT_BYTES - 1), ("unix:/" + "a" * (SOCKET_PATH_LIMIT_BYTES - 1),)),
    ("health", "off", "off"),
    ("health", False, "off"),
    ("rules", "a.conf, b.conf", ("a.conf", "b.conf")),
    ("mode", False, "off"),
    ("body_limit", "131072", 131_072),
    ("body_limit", 65_536, 65_536),
    ("body_limit", "128KiB", 131_072),
    ("body_limit", "1 MiB", 1_048_576),
    ("body_limit", "1024B", BODY_LIMIT_RANGE_BYTES[0]),
    ("body_limit", "64MiB", BODY_LIMIT_RANGE_BYTES[1]),
    ("time_budget", "500", 500),
    ("time_budget", "0.5s", 500),
    ("time_budget", "10ms", 10),
    ("time_budget", "60s", 60_000),
    ("workers", 64, 64),
    ("max_streams", "1", 1),
    ("max_streams", 1_000_000, 1_000_000),
    ("paranoia", "4", 4),
    ("trusted_hops", 16, 16),
    ("drain_seconds", 600, 600),
    ("response", "yes", True),
    ("response", False, False),
    ("upgrade_paths", "/ws,/live", ("/ws", "/live")),
    ("request_timeout", "1m", 60_000),
    ("request_timeout", 0, 0),
    ("response_types", "Text/HTML,text/plain", ("text/html", "text/plain")),
    ("response_types", "*/*", ()),
    ("events_limit", 0, 0),
    ("traces", "0.25", 0.25),
    ("traces", 0, 0.0),
    ("traces", 1, 1.0),
    ("events_limit", "64KiB", 65_536),
    ("events_limit", "1024GiB", 1 << 40),
]


@pytest.mark.parametrize(("key", "written", "value"), VALUES)
def test_what_is_read(key: str, written: object, value: object) -> None:
    assert getattr(resolve({key: written}, {}), key) == value


REFUSED: list[tuple[str, object, str]] = [
    ("listen", "8080", "must be HOST:PORT"),
    ("listen", "127.0.0.1:0", "must be HOST:PORT"),
    ("listen", "127.0.0.1:65536", "must be HOST:PORT"),
    ("listen", "::1:8080", "brackets"),
    ("listen", "example.com:80", "must begin with an IP"),
    ("app", "http://127.0.0.1:80", "without a scheme"),
    ("app", "bad_name:80", "IP or a host name"),
    ("app", "256.1.1.1:80", "IP or a host name"),
    ("grpc", "unix:/" + "a" * SOCKET_PATH_LIMIT_BYTES, "at most 100 bytes"),
    ("grpc", "unix:", "must be a text"),
    ("grpc", "127.0.0.1:1,127.0.0.1:1", "twice"),
    ("mode", "blok", "must be one of off, monitor, block"),
    ("profile", "crs4", "must be one of own, crs, crs-api, own+crs"),
    ("body_limit", "128KB", "128KiB"),
    ("body_limit", "1023", "between 1024 and 67108864 bytes"),
    ("body_limit", "65MiB", "between 1024 and"),
    ("body_limit", True, "must be a size"),
    ("traces", "1.01", "from 0 to 1"),
    ("traces", "-0.1", "from 0 to 1"),
    ("traces", "nan", "from 0 to 1"),
    ("traces", True, "from 0 to 1"),
    ("traces", "some", "from 0 to 1"),
    ("events_limit", "65535", "between 65536 and"),
    ("events_limit", "1025GiB", "between 65536 and"),
    ("body_limit", -1, "must be a size"),
    ("time_budget", "9ms", "between 10 and 60000"),
    ("time_budget", "61s", "between 10 and 60000"),
    ("max_streams", 0, "between 1 and 1000000"),
    ("max_streams", 1_000_001, "between 1 and 1000000"),
    ("time_budget", "1h", "must be between 10 and 60000 ms, not 3600000"),
    ("time_budget", "1d", "must be a time"),
    ("workers", 65, "between 0 and 64"),
    ("workers", -1, "between 0 and 64"),
    ("workers", "two", "must be a whole number"),
    ("workers", True, "must be a whole number"),
    ("paranoia", 0, "between 1 and 4"),
    ("paranoia", 5, "between 1 and 4"),
    ("trusted_hops", 17, "between 0 and 16"),
    ("drain_seconds", 601, "between 0 and 600"),
    ("response", "maybe", "must be true or false"),
    ("upgrade_paths", "ws", "begin with /"),
    ("request_timeout", "25h", "between 0 and 86400000"),
    ("response_types", "html", "such as text/html"),
    ("response_types", "text/*", "such as text/html"),
    ("rules", [1], "must be a text"),
    ("rules", {"a": 1}, "must be a list"),
    ("events", "a\nb", "control characters"),
]


@pytest.mark.parametrize(("key", "written", "words"), REFUSED)
def test_what_is_refused(key: str, written: object, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        resolve({key: written}, {})
    assert refusal.value.key == SETTINGS[key].flag
    assert words in refusal.value.message


FILES: list[tuple[str | bytes, str, str]] = [
    ("mod: block", "waf.yaml: mod", "did you mean mode?"),
    ("nonsense: 1", "waf.yaml: nonsense", "known are listen, app"),
    ("mode: block\nmode: off", "waf.yaml", "line 2, column 1: mode is written twice"),
    ("mode: blok", "waf.yaml: mode", "must be one of"),
    ("- a", "waf.yaml", "key: value"),
    ("a: [", "waf.yaml", "is not valid YAML: line 1"),
    (b"\xff\xfe\xff", "waf.yaml", "is not valid YAML"),
    ("!!python/object/apply:os.getcwd []", "waf.yaml", "is not valid YAML"),
    ("[" * 20_000, "waf.yaml", "is not valid YAML"),
    ("#" * (FILE_LIMIT_BYTES + 1), "waf.yaml", "larger than"),
]


@pytest.mark.parametrize(("text", "key", "words"), FILES, ids=range(len(FILES)))
def test_what_a_file_must_not_hold(tmp_path: Path, text: str | bytes, key: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        resolve({}, {}, write(tmp_path, text))
    assert refusal.value.key.endswith(key)
    assert words in refusal.value.message
    assert "\n" not in str(refusal.value)


def test_an_empty_file_and_one_of_the_limit(tmp_path: Path) -> None:
    assert resolve({}, {}, write(tmp_path, "")) == Config()
    assert resolve({}, {}, write(tmp_path, "#" * FILE_LIMIT_BYTES)) == Config()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        resolve({}, {}, tmp_path / "none.yaml")


def test_a_slip_in_a_variable_is_refused() -> None:
    with pytest.raises(ConfigError, match="EXTPROC_MOED: is not a setting; did you mean EXTPROC_MODE"):
        resolve({}, {"EXTPROC_MOED": "block"})


@pytest.mark.parametrize(
    "environment",
    [
        {"EXTPROC_MODE": ""},
        {"EXTPROC_SERVICE_HOST": "10.0.0.1", "EXTPROC_PORT": "tcp://10.0.0.1:9002", "EXTPROC_PORT_9002_TCP": "x"},
        {"EXTPROC_ENGINE_SERVICE_PORT_GRPC": "9002"},
        {"EXTPROC_RESPONSE_PORT": "tcp://10.0.0.1:80"},  # of a Service that is called extproc-response
        {"EXTPROC_IMAGE_DIGEST_OF_SOMEONE_ELSE": "x"},
        {"MODE": "block"},
    ],
)
def test_variables_that_are_not_ours(environment: dict[str, str]) -> None:
    assert resolve({}, environment) == Config()


def test_each_key_is_defined_wholly() -> None:
    fields = [name for name in Config.__dataclass_fields__ if name != "sources"]
    assert list(SETTINGS) == fields
    for definition in SETTINGS.values():
        assert definition.help
        assert definition.flag.startswith("--")


def test_the_document_is_current() -> None:
    text = (ROOT / "docs" / "CONFIGURATION.md").read_text(encoding="utf-8")
    assert describe_settings() + "\n## " in text, "put the output of extproc.config.describe_settings() there"


def _defaults() -> list[Any]:
    return [(name, definition.default) for name, definition in SETTINGS.items() if definition.default not in ("", ())]


@pytest.mark.parametrize(("key", "default"), _defaults())
def test_each_default_could_be_written(key: str, default: object) -> None:
    assert getattr(resolve({key: default}, {}), key) == default
