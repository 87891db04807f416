"""Values of fixed formats that libraries write: product tokens, media types, languages, dates, entity tags, ids.

Each is a grammar with a vocabulary of its own wherever a word could be more than a word, so that nothing any detector
looks for fits into it; a value that holds anything else is looked at like any other. Sources: RFC 9110 (5.6.7 dates,
8.8.3 entity tags, 10.1.5 user agent, 12.5 negotiation, 14.1 ranges), RFC 9111 5.2, RFC 9218 4, RFC 9562 4, RFC 3339,
W3C Trace Context 3.2, User-Agent Client Hints.
"""

from __future__ import annotations

from extproc.detection.scan import seeker

_WEIGHT = rb"(?:; ?q=[01](?:\.\d*)?)?"
_MEDIA = (
    rb"(?:\*|text|application|image|audio|video|font|multipart|message)/"
    rb"(?:\*|html|plain|css|csv|javascript|ecmascript|calendar|event-stream|markdown|xml|[a-z]{2,9}\+xml|json"
    rb"|[a-z]{2,9}\+json|x-ndjson|graphql-response\+json|x-www-form-urlencoded|form-data|octet-stream|pdf|zip|wasm|png"
    rb"|jpeg|gif|webp|avif|apng|bmp|x-icon|svg\+xml|signed-exchange|grpc|grpc-web|x-protobuf|protobuf|mp4|webm|ogg|mpeg"
    rb"|woff2?|vnd\.[a-z0-9-]{1,20}(?:\.v?\d{1,4})?(?:\.raw)?(?:\+json|\+xml)?)"
    rb"(?:; ?(?:charset=utf-8|v=b\d|version=[\d.]+|odata\.metadata=(?:minimal|full|none)))*" + _WEIGHT
)
_LANGUAGE = rb"(?:\*|[a-z]{2,3}(?:-[a-z0-9]{2,8}){0,3})" + _WEIGHT
_CODING = rb"(?:\*|gzip|deflate|br|zstd|identity|compress|x-gzip)" + _WEIGHT
_CACHE = (
    rb"(?:no-cache|no-store|no-transform|only-if-cached|must-revalidate|private|public"
    rb"|(?:max-age|max-stale|min-fresh|stale-while-revalidate|stale-if-error)=\d+)"
)
_DATE = (
    rb"(?:mon|tue|wed|thu|fri|sat|sun), \d\d (?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec) \d{4} "
    rb"\d\d:\d\d:\d\d gmt"
)
_INSTANT = rb"\d{4}-\d\d-\d\d[t ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:z|[+-]\d\d:?\d\d)?"
_TAG = rb'(?:w/)?"[0-9a-f](?:[0-9a-f:.-]*[0-9a-f])?"'
_SYSTEM = (
    rb"(?:windows nt [\d.]+|win64|wow64|x64|x11|u|ubuntu|fedora|wayland|linux(?: x86_64| i686| aarch64| armv[78]l)?"
    rb"|cros (?:x86_64|aarch64|armv7l) [\d.]+|macintosh|(?:intel|ppc) mac os x [\d_.]+|iphone|ipad|ipod touch"
    rb"|cpu (?:iphone )?os [\d_]+ like mac os x|android(?: [\d.]+)?|k|mobile|tablet|rv:[\d.]+|compatible)"
)
_PRODUCT = (
    rb"(?:mozilla|applewebkit|chrome|headlesschrome|chromium|crios|safari|mobile|version|gecko|firefox|fxios|edg|edga"
    rb"|edgios|opr|samsungbrowser|vivaldi|yabrowser|okhttp|curl|wget|postmanruntime|axios|python-requests|python-httpx"
    rb"|go-http-client|java|dart|apache-httpclient|node-fetch|undici|dalvik|cfnetwork|darwin)/\d[\d.]*\w{0,8}"
)
_COMMENT = rb"\((?:khtml, like gecko|" + _SYSTEM + rb"(?:; ?" + _SYSTEM + rb")*)\)"
_AGENT = _PRODUCT + rb"(?: (?:" + _PRODUCT + rb"|" + _COMMENT + rb"|mobile))*"
_BRAND = (
    rb'"(?: ?not[ ()/.;:?_=-]{1,2}a[ ()/.;:?_=-]{1,2}brand|chromium|google chrome|microsoft edge|opera|brave'
    rb'|android webview)";v="[\d.]+"'
)


def _list(item: bytes) -> bytes:
    return item + rb"(?:, ?" + item + rb")*"


is_fixed = seeker(
    rb"\A(?:"
    + b"|".join(
        (
            _AGENT,
            _list(_MEDIA),
            _list(_LANGUAGE),
            _list(_CODING),
            _list(_CACHE),
            _DATE,
            _INSTANT,
            _list(_TAG),
            _list(_BRAND),
            rb"(?-i:[0-9a-f]{16,128})",
            rb"(?-i:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})",
            rb"(?-i:00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-9a-f])",
            rb"u=[0-7](?:, ?i)?",
            rb"bytes=\d*-\d*",
            rb'"(?:windows|macos|linux|android|ios|chrome os)"',
            rb"(?:same-origin|same-site|cross-site|navigate|document|no-cors|keep-alive|xmlhttprequest)",
        )
    )
    + rb")\z"
)
"""Is the whole value of one of these formats? Letters in either case, but for identifiers in small ones."""
