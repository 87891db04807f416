"""Targets: a policy file is read or refused with its findings; no request breaks the choice of
what holds for it; an OpenAPI document is read or refused."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from pathlib import Path

from extproc.engine.plan import Plan
from extproc.engine.treatment import Treatment
from extproc.model.errors import PolicyErrors
from extproc.model.message import Address, RequestHead
from extproc.model.verdict import Mode
from extproc.policy.bind import Base, Binder
from extproc.policy.fields import KINDS
from extproc.policy.load import load_policy
from extproc.policy.openapi import MAX_FIELDS, ApiError, read_api
from extproc.policy.scopes import read_path
from extproc.seclang.assemble import Sources, load_ruleset
from tests.fuzz.fuzz_source import Source

_FOLDER = Path(tempfile.mkdtemp(prefix="extproc-fuzz-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)

_POLICY = b"""schema: extproc.policy/1
defaults: {mode: monitor, trusted_proxies: [10.0.0.0/8], ip: {deny: [192.0.2.0/24]}}
policies:
  strict: {match: {path: /admin/**}, mode: block}
  weak: {match: {path: /static/**}, mode: 'off'}
  host: {match: {host: "*.example"}, exclusions: [{rules: 1, path: /a/*/b, owner: a, reason: b}]}
"""


def _file(data: bytes) -> Path:
    file = _FOLDER / "waf.yaml"
    file.write_bytes(data)
    return file


def policy(data: bytes) -> None:
    """Read, or PolicyErrors whose findings begin with file and line."""
    file, findings = _file(data), ["waf.yaml:0: fine"]
    try:
        load_policy(file)
    except PolicyErrors as errors:
        findings = [finding.removeprefix(f"{_FOLDER}/") for finding in errors.findings]
    assert findings
    assert all(re.match(r"[^:]*:\d+: ", finding) for finding in findings), findings


def openapi(data: bytes) -> None:
    """Operations whose fields have known kinds, or ApiError; every path finds one of them or none."""
    try:
        document = read_api(data, "api.yaml")
    except ApiError:
        return
    assert str(document)
    for operation in document.operations:
        assert len(operation.fields) <= MAX_FIELDS
        assert set(operation.fields.values()) <= set(KINDS)
        found = document.find(operation.method, operation.path.replace("{", "").replace("}", "").encode())
        assert found is None or found in document.operations


def _binder() -> Binder:
    plan = Plan(load_ruleset(Sources((), preamble=b'SecAction "id:1,phase:1,pass,nolog"')))
    return Binder(load_policy(_file(_POLICY)), Base({"": plan}, Mode.BLOCK, False, 131_072, 500))


_BINDER = _binder()


def request(data: bytes) -> None:
    """A treatment, whatever the head holds; of a path with several readings never the weakest alone."""
    source = Source(data)
    path, host, forwarded = source.text(), source.text(), source.text()
    head = RequestHead(
        method=source.text(),
        path=path,
        authority=host,
        headers=((b"x-forwarded-for", forwarded),),
        client=Address(source.pick(("10.0.0.1", "192.0.2.1", "", "2001:db8::1"))),
        policy=source.pick(("", "strict", "none")),
    )
    treatment = _BINDER.treat(head, float(source.byte()))
    assert isinstance(treatment, Treatment)
    readings = read_path(path)
    assert readings
    if treatment.terms.mode is Mode.OFF:
        assert all(reading == b"/static" or reading.startswith(b"/static/") for reading in readings)
