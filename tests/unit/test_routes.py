"""Routes as users write them: what is read, what is refused and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from extproc.config import resolve
from extproc.model.errors import ConfigError
from extproc.model.route import UPLOAD_BUDGET_MS, UPLOAD_LIMIT_BYTES, Beyond, Profile, Route
from extproc.routes import ROUTES_LIMIT

STREAM, UPLOAD = Profile.STREAM, Profile.UPLOAD

READ: list[tuple[object, Route]] = [
    ("/ws=stream", Route("/ws", "/ws", profile=STREAM)),
    ("/ws/=stream", Route("/ws", "/ws", profile=STREAM)),
    ("/=stream", Route("/", "/", profile=STREAM)),
    ("/a=standard", Route("/a", "/a")),
    (
        "/up=upload",
        Route("/up", "/up", profile=UPLOAD, body_limit_bytes=UPLOAD_LIMIT_BYTES, time_budget_ms=UPLOAD_BUDGET_MS),
    ),
    ("/up=upload:2MiB:20s", Route("/up", "/up", profile=UPLOAD, body_limit_bytes=2 * 2**20, time_budget_ms=20_000)),
    ("/up=upload:pass:1KiB:90ms", Route("/up", "/up", "", False, UPLOAD, 1024, 90, Beyond.PASS)),
    ("*.a.com/x=stream", Route("*.a.com/x", "/x", "*.a.com", profile=STREAM)),
    ("=/x/=stream", Route("=/x/", "/x/", is_exact=True, profile=STREAM)),
    ("a.com=/x=stream", Route("a.com=/x", "/x", "a.com", is_exact=True, profile=STREAM)),
    (
        {
            "name": "up",
            "host": "a.com",
            "prefix": "/up",
            "profile": "upload",
            "body_limit": "1MiB",
            "time_budget": 700,
            "policy": "strict",
        },
        Route("up", "/up", "a.com", False, UPLOAD, 2**20, 700, policy="strict"),
    ),
    ({"path": "/x", "policy": "lax"}, Route("=/x", "/x", is_exact=True, policy="lax")),
]


@pytest.mark.parametrize(("written", "route"), READ, ids=lambda value: str(value)[:30])
def test_a_route_is_read(written: object, route: Route) -> None:
    assert resolve({"routes": [written]}, {}).routes == (route,)


REFUSED: list[tuple[Any, str]] = [
    (["/ws"], "PREFIX=PROFILE"),
    (["/ws=strem"], "standard, upload, stream"),
    (["ws=stream"], "begin with /"),
    (["/a%2fb=stream"], "no escapes"),
    (["/a;b=stream"], "no escapes"),
    (["/a?b=stream"], "no escapes"),
    (["/a/../b=stream"], "dots"),
    (["/a//b=stream"], "dots"),
    (["/ws=stream:1MiB"], "only the profile `upload`"),
    (["/ws=stream:pass"], "only the profile `upload`"),
    (["/ws=stream:9s"], "only the profile `upload`"),
    (["/up=upload:61s"], "between 10 and 60000"),
    (["/up=upload:1"], "between 1024"),
    (["/up=upload:65MiB"], "between 1024"),
    (["a.com:80/=stream"], "without a port"),
    (["/a=stream", "/a=upload"], "two routes '/a'"),
    ([{"prefix": "/a", "name": "x"}, {"prefix": "/a", "name": "y"}], "never be reached"),
    ([{"prefix": "/a", "name": "app"}], "none of ambiguous-host, app"),
    ([{"prefix": "/a", "policy": "a b"}], "names of letters"),
    ([{"prefix": "/a", "path": "/b"}], "`prefix` or `path`"),
    ([{"host": "a.com"}], "`prefix` or `path`"),
    ([{"prefix": "/a", "profil": "stream"}], "did you mean profile?"),
    ([{"prefix": "/a", "beyond": "ignore"}], "refuse, pass"),
    ([7], "such as /ws=stream"),
    (7, "list of routes"),
]


@pytest.mark.parametrize(("written", "sentence"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_wrong_route_is_refused_with_a_sentence(written: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        resolve({"routes": written}, {})
    assert raised.value.key == "--route"
    assert sentence in raised.value.message


def test_as_many_routes_as_the_limit() -> None:
    written = [f"/{number}=stream" for number in range(ROUTES_LIMIT)]
    assert len(resolve({"routes": written}, {}).routes) == ROUTES_LIMIT
    with pytest.raises(ConfigError, match="at most 200 routes"):
        resolve({"routes": [*written, "/one-more=stream"]}, {})


def test_the_environment_separates_by_commas() -> None:
    assert [route.name for route in resolve({}, {"EXTPROC_ROUTES": "/a=stream,/b=upload"}).routes] == ["/a", "/b"]
