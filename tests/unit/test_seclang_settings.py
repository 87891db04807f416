"""Directives: their fates, their values, and the page that lists them."""

from pathlib import Path
from typing import Any

import pytest

from extproc.model.errors import SecLangErrors
from extproc.model.phase import Phase
from extproc.model.verdict import Mode
from extproc.seclang.directives import (
    DIRECTIVES,
    HARMLESS_VALUES,
    Fate,
    id_ranges,
    link_offset,
    listed_actions,
    replaced_targets,
    table,
    updated_targets,
)
from extproc.seclang.parser import parse
from extproc.seclang.settings import MAX_BYTES_SETTING, MAX_COUNT_SETTING, RulesetSettings, settings
from extproc.seclang.syntax import Action, Directive, Variable

ROOT = Path(__file__).parents[2]


def read(text: bytes) -> RulesetSettings:
    return settings(parse(text))[0]


def directive(text: bytes) -> Directive:
    (statement,) = parse(text)
    assert isinstance(statement, Directive)
    return statement


VALUES = [
    (b"SecRuleEngine On", "mode", Mode.BLOCK),
    (b'SecRuleEngine "detectiononly"', "mode", Mode.MONITOR),
    (b"SecRuleEngine Off", "mode", Mode.OFF),
    (b"SecRuleEngine On\nSecRuleEngine Off", "mode", Mode.OFF),
    (b"SecRequestBodyAccess On", "request_body_access", True),
    (b"SecResponseBodyAccess off", "response_body_access", False),
    (b"SecRequestBodyLimit 13107200", "request_body_limit_bytes", 13107200),
    (b"SecRequestBodyNoFilesLimit 131072", "request_body_no_files_limit_bytes", 131072),
    (b"SecRequestBodyLimitAction ProcessPartial", "request_body_is_rejected", False),
    (b"SecRequestBodyLimitAction Reject", "request_body_is_rejected", True),
    (b"SecRequestBodyJsonDepthLimit 512", "json_depth", 512),
    (b"SecArgumentsLimit 1000", "arguments", 1000),
    (b"SecUploadFileLimit 10", "upload_files", 10),
    (b"SecParseXmlIntoArgs OnlyArgs", "xml_into_args", "onlyargs"),
    (b"SecResponseBodyLimit 524288", "response_body_limit_bytes", 524288),
    (b"SecResponseBodyLimitAction Reject", "response_body_is_rejected", True),
    (b"SecResponseBodyMimeType text/plain Text/HTML", "response_mime_types", (b"text/plain", b"text/html")),
    (b"SecResponseBodyMimeType a/b\nSecResponseBodyMimeType c/d a/b", "response_mime_types", (b"a/b", b"c/d")),
    (b"SecResponseBodyMimeType a/b\nSecResponseBodyMimeTypesClear", "response_mime_types", ()),
    (b"SecArgumentSeparator ;", "argument_separator", b";"),
    (b"SecCollectionTimeout 600", "collection_timeout_s", 600),
    (b'SecWebAppId "shop"', "web_app_id", b"shop"),
    (b"SecComponentSignature A/1\nSecComponentSignature B/2", "component_signatures", (b"A/1", b"B/2")),
    (
        b'SecDefaultAction "phase:1,log,deny"\nSecDefaultAction "log,pass"',
        "default_actions",
        {
            Phase.REQUEST_HEADERS: (Action("log"), Action("deny")),
            Phase.REQUEST_BODY: (Action("log"), Action("pass")),
        },
    ),
]


@pytest.mark.parametrize(("text", "field", "value"), VALUES)
def test_values(text: bytes, field: str, value: Any) -> None:
    assert getattr(read(text), field) == value


def test_what_no_directive_says_is_left_open() -> None:
    assert read(b"") == RulesetSettings()
    assert RulesetSettings().mode is None


WRONG = [
    (b"SecRuleEngine Maybe", "1: SecRuleEngine: Maybe is not one of On, Off, DetectionOnly"),
    (b"SecRequestBodyAccess 1", "1: SecRequestBodyAccess: 1 is not one of On, Off"),
    (b"SecRequestBodyLimit 12K", "1: SecRequestBodyLimit: 12K is not a whole number of bytes"),
    (b"SecRequestBodyLimit 0", "1: SecRequestBodyLimit: 0 is not a whole number"),
    (b"SecRequestBodyLimit -1", "1: SecRequestBodyLimit: -1 is not a whole number"),
    (b"SecRequestBodyLimit %d" % (MAX_BYTES_SETTING + 1), "1: SecRequestBodyLimit: 1099511627777 is not"),
    (b"SecArgumentsLimit %d" % (MAX_COUNT_SETTING + 1), "1: SecArgumentsLimit: 10000001 is not"),
    (b"SecRequestBodyLimitAction Drop", "1: SecRequestBodyLimitAction: Drop is not one of Reject, ProcessPartial"),
    (b"SecArgumentSeparator &&", "1: SecArgumentSeparator: '&&' is not one byte"),
    (b"SecResponseBodyMimeType text", "1: SecResponseBodyMimeType: text is not a media type"),
    (b"SecDefaultAction phase:1,log", "1: SecDefaultAction: a disruptive action is missing"),
    (b"SecDefaultAction phase:1,pass,id:5", "1: SecDefaultAction: id cannot be a default"),
    (b"SecDefaultAction phase:9,pass", "1: SecDefaultAction: unknown phase 9"),
    (b"SecRemoteRules key https://a", "1: SecRemoteRules is refused: rules are never fetched"),
    (b"SecGeoLookupDb /a", "1: SecGeoLookupDb is refused: there is no geographic data"),
    (b"SecHashEngine On", "1: SecHashEngine is refused"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong_values(text: bytes, message: str) -> None:
    with pytest.raises(SecLangErrors) as caught:
        read(text)
    (finding,) = caught.value.findings
    assert f"{finding.line}: {finding.message}".startswith(message)


def test_the_largest_values_and_all_findings() -> None:
    assert read(b"SecRequestBodyLimit %d" % MAX_BYTES_SETTING).request_body_limit_bytes == MAX_BYTES_SETTING
    assert read(b"SecArgumentsLimit %d" % MAX_COUNT_SETTING).arguments == MAX_COUNT_SETTING
    with pytest.raises(SecLangErrors) as caught:
        read(b"SecRuleEngine X\nSecRequestBodyLimit X\nSecRuleScript a.lua\n")
    assert [finding.line for finding in caught.value.findings] == [1, 2, 3]


@pytest.mark.parametrize("name", sorted(known.name for known in DIRECTIVES.values() if known.fate is Fate.REFUSED))
def test_refused_directives_are_refused_unless_their_value_is_harmless(name: str) -> None:
    arguments = (b"On",) * DIRECTIVES[name.lower()].least
    with pytest.raises(SecLangErrors, match=f"{name} is refused: "):
        settings([Directive("-", 1, name, arguments)])
    for value in HARMLESS_VALUES.get(name, ()):
        assert settings([Directive("-", 1, name, (value.upper(),))]) == (RulesetSettings(), [])


def test_one_notice_for_each_idle_directive() -> None:
    text = b"SecAuditEngine On\nSecAuditEngine Off\nSecStatusEngine On\nSecDefaultAction pass\nSecDefaultAction deny"
    notices = settings(parse(text, "a.conf"))[1]
    assert [(notice.file, notice.line, notice.text.split(" ")[0]) for notice in notices] == [
        ("a.conf", 1, "SecAuditEngine"),
        ("a.conf", 3, "SecStatusEngine"),
        ("a.conf", 5, "a"),
    ]
    assert notices[0].text == "SecAuditEngine has no effect: decision events take its place: `--events FILE`"


@pytest.mark.parametrize(
    ("text", "ranges", "offset"),
    [
        (b'SecRuleRemoveById 1 2 "9000-9010"', [(1, 1), (2, 2), (9000, 9010)], 0),
        (b"SecRuleRemoveById 1,2", [(1, 1), (2, 2)], 0),
        (b"SecRuleUpdateTargetById 1-5 !ARGS:a", [(1, 5)], 0),
        (b"SecRuleUpdateTargetById 12:1 !ARGS:a", [(12, 12)], 1),
        (b"SecRuleUpdateActionById 12:3 pass", [(12, 12)], 3),
    ],
)
def test_ids(text: bytes, ranges: list[tuple[int, int]], offset: int) -> None:
    statement = directive(text)
    assert [(found[0], found[-1]) for found in id_ranges(statement)] == ranges
    assert link_offset(statement) == offset


def test_updates() -> None:
    update = directive(b'SecRuleUpdateTargetByTag "attack-.*" "!ARGS:a|!ARGS:/b|c/,TX:d" ARGS')
    assert updated_targets(update) == (
        Variable("ARGS", b"a", is_exclusion=True),
        Variable("ARGS", key_pattern=b"b|c", is_exclusion=True),
        Variable("TX", b"d"),
    )
    assert replaced_targets(update) == (Variable("ARGS"),)
    assert replaced_targets(directive(b"SecRuleUpdateTargetById 1 ARGS")) == ()
    actions = listed_actions(directive(b"SecRuleUpdateActionById 1 \"nolog,msg:'a, b'\""))
    assert actions == (Action("nolog"), Action("msg", b"a, b"))


def test_the_page_lists_every_directive_as_it_is() -> None:
    page = (ROOT / "docs" / "SECLANG.md").read_text(encoding="utf-8")
    assert table() in page
