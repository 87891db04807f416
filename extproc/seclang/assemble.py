"""Step 4e, load: files → a ruleset ready to run, with the settings its directives ask for.

The order is that of one long file: preamble, the files named, closing lines.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from extproc.bodies.contract import Limits
from extproc.engine.ruleset import BodySettings, Ruleset
from extproc.model.errors import SecLangErrors
from extproc.model.files import FilesRead
from extproc.model.verdict import Mode
from extproc.seclang.compile import Compiler, by_id
from extproc.seclang.literal_store import LiteralStore
from extproc.seclang.load import read_files
from extproc.seclang.parser import duplicate_ids, parse
from extproc.seclang.settings import RulesetSettings, settings
from extproc.seclang.syntax import Statement

MAX_DATA_FILE_BYTES = 32 * 1024 * 1024
"""A larger data file (@pmFromFile, @ipMatchFromFile) is refused."""

DEFAULT_BODIES = BodySettings()

PREAMBLE_FILE = "extproc:preamble"
"""Where findings in lines of our own are said to be."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What a ruleset is made of: lines before, files, lines after."""

    files: tuple[Path, ...]
    preamble: bytes = b""
    closing: bytes = b""


def load_ruleset(
    sources: Sources,
    defaults: BodySettings = DEFAULT_BODIES,
    cache_directory: Path | None = None,
    files: FilesRead | None = None,
) -> Ruleset:
    """Read, parse and compile. `defaults` holds where no directive says otherwise.

    `cache_directory` keeps what is dear to work out between starts; `files` notes what was read, data files
    included. Raises SecLangErrors with the findings of reading, of settings and of compiling together.
    """
    with _without_collector():
        return _load_ruleset(sources, defaults, cache_directory, files or FilesRead())


@contextmanager
def _without_collector() -> Iterator[None]:
    """Loading makes a hundred thousand objects that all stay: looking for garbage among them is a tenth of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _load_ruleset(sources: Sources, defaults: BodySettings, cache_directory: Path | None, files: FilesRead) -> Ruleset:
    statements: list[Statement] = parse(sources.preamble, PREAMBLE_FILE)
    of_files, findings = read_files(sources.files, files)
    statements += of_files
    statements += parse(sources.closing, PREAMBLE_FILE)
    findings += duplicate_ids(statements)
    try:
        said, notices = settings(statements)
    except SecLangErrors as errors:
        findings += errors.findings
    literals = LiteralStore(cache_directory)
    digest = hashlib.blake2b(repr(statements).encode("utf-8", "surrogatepass"), digest_size=8)
    compiler = Compiler(_recording_reader(digest.update, files), literals)
    told = {(finding.file, finding.line) for finding in findings}
    try:
        phases = compiler.compile(statements)
    except SecLangErrors as errors:
        findings += [finding for finding in errors.findings if (finding.file, finding.line) not in told]
    if findings:
        # All stages have spoken: whoever mends the rules sees everything at once.
        raise SecLangErrors(findings)
    literals.save()
    notices_text = [f"{notice.file}:{notice.line}: {notice.text}" for notice in notices]
    return Ruleset(
        phases=phases,
        mode=said.mode if said.mode is not None else Mode.BLOCK,
        bodies=body_settings(said, defaults),
        hash=digest.hexdigest(),
        signature=" ".join(text.decode("utf-8", "replace") for text in said.component_signatures),
        notices=(*notices_text, *compiler.notices),
        collection_timeout_seconds=said.collection_timeout_s or 3600,
        by_id=by_id(phases),
    )


def body_settings(said: RulesetSettings, defaults: BodySettings) -> BodySettings:
    """`defaults` with what the directives set."""
    limits: Limits = defaults.limits
    if said.json_depth is not None:
        limits = replace(limits, json_depth=said.json_depth)
    if said.arguments is not None:
        limits = replace(limits, arguments=said.arguments)
    changed: dict[str, Any] = {
        "is_request_read": said.request_body_access,
        "is_response_read": said.response_body_access,
        "request_limit_bytes": said.request_body_limit_bytes,
        "is_request_excess_partial": _not(said.request_body_is_rejected),
        "response_limit_bytes": said.response_body_limit_bytes,
        "is_response_excess_partial": _not(said.response_body_is_rejected),
        "response_types": None if said.response_mime_types is None else frozenset(said.response_mime_types),
        "argument_separator": said.argument_separator,
    }
    return replace(defaults, limits=limits, **{key: value for key, value in changed.items() if value is not None})


def _not(said: bool | None) -> bool | None:
    return None if said is None else not said


def crs_files(directory: Path, files: FilesRead | None = None) -> tuple[Path, ...]:
    """The files of a Core Rule Set checkout in loading order. Raises FileNotFoundError with a sentence.

    `crs-setup.conf`, else its example; plugins' config and before files; `rules/*.conf`; plugins' after files.
    `files` notes what was looked for.
    """
    plugins = directory / "plugins"
    setup = directory / "crs-setup.conf"
    if files is not None:
        files.file(setup)
        for pattern in (directory / "rules" / "*.conf", plugins / "*.conf"):
            files.pattern(pattern)
    if not setup.is_file():
        setup = directory / "crs-setup.conf.example"
    rules = sorted((directory / "rules").glob("*.conf"))
    if not setup.is_file() or not rules:
        raise FileNotFoundError(f"{directory} is no Core Rule Set: it needs crs-setup.conf(.example) and rules/*.conf")
    return (
        setup,
        *sorted(plugins.glob("*-config.conf")),
        *sorted(plugins.glob("*-before.conf")),
        *rules,
        *sorted(plugins.glob("*-after.conf")),
    )


def _recording_reader(update: Callable[[bytes], None], files: FilesRead) -> Callable[[Path], bytes]:
    """Reads data files, each into the ruleset's hash too."""
    known: dict[Path, bytes] = {}

    def read(path: Path) -> bytes:
        data = known.get(path)
        if data is None:
            files.file(path)
            if path.stat().st_size > MAX_DATA_FILE_BYTES:
                raise OSError(27, f"larger than {MAX_DATA_FILE_BYTES} bytes")
            data = known[path] = path.read_bytes()
            update(data)
        return data

    return read
