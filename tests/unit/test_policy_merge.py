"""Which policies a request fits, who wins; and a path that can be read in two ways does not pick the weaker one."""

from __future__ import annotations

from pathlib import Path

import pytest

from extproc.policy.load import load_policy
from extproc.policy.merge import Merger
from extproc.policy.scopes import HostPattern, PathPattern, read_host, read_path

TEXT = """schema: extproc.policy/1
defaults: {mode: monitor, paranoia: 1, exclusions: [{rules: 1, owner: a, reason: b}]}
policies:
  by-route: {match: {route: shop}, paranoia: 4, exclusions: [{rules: 2, owner: a, reason: b}]}
  long-path: {match: {path: /shop/cart/**}, mode: block, paranoia: 3}
  short-path: {match: {path: /shop/**}, mode: off, paranoia: 2}
  exact-host: {match: {host: shop.example}, mode: block, response: true}
  any-host: {match: {host: "*.example"}, mode: off, response: false}
  asked: {mode: safe-block}
  both: {match: [{host: api.example, path: /v1/**}, {route: api}], profile: own}
  static: {match: {path: /static/**}, mode: off}
"""


@pytest.fixture
def merger(tmp_path: Path) -> Merger:
    (tmp_path / "waf.yaml").write_text(TEXT)
    return Merger(load_policy(tmp_path / "waf.yaml"))


CASES: list[tuple[str, str, str, bytes, tuple[str, ...], str]] = [
    ("", "", "other", b"/", ("defaults",), "monitor"),
    ("", "", "other", b"/shop/cart/1", ("defaults", "short-path", "long-path"), "block"),
    ("", "", "other", b"/shop", ("defaults", "short-path"), "off"),
    ("", "", "shop.example", b"/", ("defaults", "any-host", "exact-host"), "block"),
    ("", "", "SHOP.example:8443", b"/", ("defaults", "any-host", "exact-host"), "block"),
    ("", "", "shop.example.", b"/", ("defaults", "any-host", "exact-host"), "block"),
    ("", "", "example", b"/", ("defaults",), "monitor"),
    (
        "",
        "",
        "shop.example",
        b"/shop/cart/1",
        ("defaults", "short-path", "long-path", "any-host", "exact-host"),
        "block",
    ),
    ("", "shop", "x", b"/shop/x", ("defaults", "short-path", "by-route"), "off"),
    ("asked", "shop", "x", b"/shop/x", ("defaults", "short-path", "by-route", "asked"), "safe-block"),
    ("nobody", "", "x", b"/", ("defaults",), "monitor"),
    ("defaults", "", "x", b"/", ("defaults",), "monitor"),
    ("static", "", "x", b"/static/a", ("defaults", "static"), "off"),
    ("", "", "api.example", b"/v1/x", ("defaults", "any-host", "both"), "off"),
    ("", "", "api.example", b"/v2/x", ("defaults", "any-host"), "off"),
    ("", "api", "z", b"/", ("defaults", "both"), "monitor"),
    ("", "", "x", b"/static/logo.png?x=/../..", ("defaults", "static"), "off"),
]


@pytest.mark.parametrize(("asked", "route", "host", "path", "names", "mode"), CASES)
def test_who_wins(
    merger: Merger, asked: str, route: str, host: str, path: bytes, names: tuple[str, ...], mode: str
) -> None:
    effective, _, read = merger.fit(asked, route, host.encode(), path)
    assert read is not None
    assert (effective.names, effective.value("mode")) == (names, mode)


def test_fields_are_merged_one_by_one_and_exclusions_add_up(merger: Merger) -> None:
    effective = merger.fit("", "shop", b"x", b"/shop/cart/1").effective
    assert effective.names == ("defaults", "short-path", "long-path", "by-route")
    assert (effective.value("mode"), effective.value("paranoia"), effective.value("response")) == ("block", 4, None)
    assert [exclusion.rules for exclusion in effective.exclusions] == [((1, 1),), ((2, 2),)]


AMBIGUOUS = [
    b"/static/..;/admin",
    b"/static/../admin",
    b"/static/%2e%2e/admin",
    b"/static/..%2fadmin",
    b"/static/%2e%2e%2fadmin",
    b"/static/..\\admin",
    b"/static/..%5cadmin",
    b"/admin/..%2fstatic/x",
    b"/admin;/../static/x",
    b"/admin/%2e%2e/static/x",
    b"//admin/../static/x",
    b"/static/%252e%252e/admin",
    b"/admin%00/../static/x",
    b"/static/../static/../admin",
]


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_an_odd_path_does_not_choose_the_weaker_policy(merger: Merger, path: bytes) -> None:
    effective, _, read = merger.fit("", "", b"x", path)
    assert (effective.value("mode"), read) == ("monitor", None)


PLAIN = [
    (b"/a/b", (b"/a/b",)),
    (b"/a/b?c=/../d", (b"/a/b",)),
    (b"/a%20b", (b"/a b",)),
    (b"/%C3%A4", (b"/\xc3\xa4",)),
    (b"/.well-known/x", (b"/.well-known/x",)),
    (b"http://h/x", (b"/x",)),
    (b"*", (b"/",)),
    (b"", (b"/",)),
]


@pytest.mark.parametrize(("path", "readings"), PLAIN)
def test_what_is_read_in_one_way(path: bytes, readings: tuple[bytes, ...]) -> None:
    assert read_path(path) == readings


PATTERNS = [
    ("/a", b"/a", True),
    ("/a", b"/a/", False),
    ("/a/**", b"/a", True),
    ("/a/**", b"/a/b/c", True),
    ("/a/**", b"/ab", False),
    ("/**", b"/", True),
    ("/*/x", b"/a/x", True),
    ("/*/x", b"/a/b/x", False),
    ("/a.b", b"/aXb", False),
    ("/a*", b"/ab", True),
    ("/a*", b"/a\n", True),
]


@pytest.mark.parametrize(("pattern", "path", "fits"), PATTERNS)
def test_path_patterns(pattern: str, path: bytes, fits: bool) -> None:
    assert PathPattern.of(pattern).covers(path) is fits


def test_hosts() -> None:
    assert read_host(b"[2001:DB8::1]:80") == "[2001:db8::1]"
    assert not HostPattern("*.example").covers("example")
    assert not HostPattern("*.example").covers("badexample")
