"""go-ftw tests (YAML) → cases: what a client would send, what the log must and must not hold.

Format: github.com/coreruleset/go-ftw, README and `ftwhttp`. Headers that its client adds are added here too.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, unquote_plus

import yaml

from extproc.model.errors import ConfigError

FORM = "application/x-www-form-urlencoded"
_WITH_BODY = re.compile(r"^POST|PUT|PATCH|DELETE$")
_REPEAT = re.compile(r'\{\{\s*"([^"]*)"\s*\|\s*repeat\s+(\d{1,7})\s*\}\}')
"""The one template function that tests use in `data` (go-ftw README, *Template*; Sprig `repeat`)."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Stage:
    """One request of a test and what is expected of it."""

    raw: bytes
    expect_ids: tuple[int, ...] = ()
    no_expect_ids: tuple[int, ...] = ()
    status: int | None = None
    match_regex: str | None = None
    no_match_regex: str | None = None
    expect_error: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """`title` is `<rule>-<test>` as go-ftw prints it."""

    title: str
    file: str
    stages: tuple[Stage, ...]


def read_cases(paths: list[Path]) -> Iterator[Case]:
    """All tests of files and folders, in name order. Raises ConfigError naming the file."""
    for path in paths:
        if path.is_dir():
            files = sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")])
        elif path.is_file():
            files = [path]
        else:
            raise ConfigError(str(path), "is no file and no folder of go-ftw tests")
        for file in files:
            yield from _read_file(file)


def _read_file(file: Path) -> Iterator[Case]:
    try:
        document = yaml.load(file.read_bytes(), Loader=_LOADER)  # noqa: S506 - a safe loader either way
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(file), f"is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(document, dict) or not isinstance(document.get("tests"), list):
        return  # overrides and other files that live beside tests
    rule = document.get("rule_id") or file.stem
    for number, test in enumerate(document["tests"], 1):
        try:
            title = test.get("test_title") or f"{rule}-{test.get('test_id', number)}"
            stages = tuple(_stage(stage.get("stage", stage)) for stage in test["stages"])
        except (KeyError, TypeError, AttributeError, ValueError, binascii.Error) as error:
            raise ConfigError(str(file), f"test {number} is not in go-ftw's form: {error!r}") from error
        yield Case(str(title), str(file), stages)


def _stage(stage: Mapping[str, Any]) -> Stage:
    wanted = stage["input"]
    output = stage.get("output") or {}
    log = output.get("log") or {}
    status = output.get("status")
    return Stage(
        raw=_raw(wanted),
        expect_ids=tuple(int(one) for one in log.get("expect_ids") or ()),
        no_expect_ids=tuple(int(one) for one in log.get("no_expect_ids") or ()),
        status=int(status[0] if isinstance(status, list) else status) if status is not None else None,
        match_regex=log.get("match_regex"),
        no_match_regex=log.get("no_match_regex"),
        expect_error=bool(output.get("expect_error")),
    )


def _raw(wanted: Mapping[str, Any]) -> bytes:
    """The bytes on the wire."""
    if wanted.get("encoded_request"):
        return base64.b64decode(wanted["encoded_request"])
    headers = [
        (str(name), "" if value is None else str(value)) for name, value in (wanted.get("headers") or {}).items()
    ]
    data = wanted.get("data")
    if isinstance(data, list):
        data = "\r\n".join(data)
    body = b"" if data is None else _REPEAT.sub(_repeated, str(data)).encode()
    if wanted.get("encoded_data"):
        body = base64.b64decode(wanted["encoded_data"])
    is_completed = wanted.get("autocomplete_headers", not wanted.get("stop_magic", False))

    def named(name: str) -> str | None:
        return next((value for key, value in headers if key.lower() == name), None)

    if body and is_completed:
        if named("content-type") is None:
            headers.append(("Content-Type", FORM))
        if named("content-type") == FORM:
            body = _encode_form(body)
    if (named("content-type") or "").startswith("multipart/form-data;"):
        body = body.replace(b"\n", b"\r\n")
    method = str(wanted.get("method") or "GET")
    if is_completed:
        if named("connection") is None:
            headers.append(("Connection", "close"))
        if (body or _WITH_BODY.search(method)) and named("content-length") is None:
            headers.append(("Content-Length", str(len(body))))
    version = wanted.get("version")
    line = f"{method} {wanted.get('uri') or '/'} {'HTTP/1.1' if version is None else version}".rstrip()
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{line}\r\n{head}\r\n".encode("utf-8", "surrogateescape") + body


def _repeated(template: re.Match[str]) -> str:
    return template[1] * int(template[2])


def _encode_form(body: bytes) -> bytes:
    """Percent-encode names and values, unless decoding them would change something: then they are encoded."""
    if unquote_plus(body.decode("latin-1"), encoding="latin-1").encode("latin-1") != body:
        return body
    pairs = []
    for pair in body.split(b"&"):
        key, equals, value = pair.partition(b"=")
        pairs.append(quote_plus(key).encode() + (b"=" + quote_plus(value).encode() if equals else b""))
    return b"&".join(pairs)
