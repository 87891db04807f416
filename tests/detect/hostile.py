"""Values of 8 KB made to cost: bytes and tokens that some scanner starts at, repeated; alternations of them; and what
grows out of the dearest."""

from __future__ import annotations

import random
from collections.abc import Callable

BYTES = 8192

TOKENS = [
    token.encode()
    for token in (
        "' or ",
        "' or 1=1 or '",
        "'a'='a' ",
        "'||'",
        "'+'",
        "||1==1",
        "or a=b ",
        "case when 1 then 2 end ",
        "(select ",
        "sleep(",
        "if(",
        "; select ",
        "' union select 1,",
        "having 1=1 ",
        "/**/",
        "/*!1*/",
        "-- ",
        "#",
        "`a` ",
        "; cat ",
        "| ls ",
        "&& id ",
        "`id` ",
        "$(id) ",
        "${IFS}",
        "\r\n",
        "../",
        "..\\",
        "..;/",
        "....//",
        "..%2f",
        "/etc/passwd ",
        "/etc/",
        "a.../",
        "php://",
        "file:///",
        "data:",
        "windows/",
        "0x2e",
        "http://a ",
        "http://127.1 ",
        "http://[",
        "//a",
        "<a ",
        "<a b=",
        "<a onx=",
        "<svg onload=",
        "<script>",
        "<style>",
        "<!--",
        "<![CDATA[",
        "<!ENTITY ",
        "<?php ",
        "javascript:",
        "';a(",
        "alert(1)",
        "window.",
        "eval(",
        "{{7*",
        "{{a}}",
        "${",
        "${lower:j",
        "#{",
        "{%",
        "{a{",
        "{a:1,",
        "{a:{",
        "(|(",
        ")(|(a=",
        "*)(",
        "]/",
        "' or name()='",
        "count(/",
        '{"$ne":',
        "$where",
        "db.a.",
        "[",
        "(",
        "a=b&",
        "/a?b=",
        "%26",
        "%3c",
        "%253c",
        "%u0041",
        "&#60;",
        "&amp;",
        "&lt;",
        "\\u003c",
        "\\'",
        "\\\\",
        "\\41 ",
        "+ADw-",
        "ro0AB",
        "O:1:",
        "QUFB",
        "\r\nSet-Cookie: ",
        "\u2032",
        "’",  # what is folded
        "ＡＢ",
        "\u200b",
        "ſ",
        "\x00",
        "\x0b",
        "j\t",
        "a ",
        "1 ",
        "__class__.",
        "query{a",
        "fragment a on b{",
    )
] + [b"\xc0\xaf", b"\xe0\x80\xaf", b"\xff"]

ALTERNATIONS, GROWN, KEPT, LONGEST = 400, 300, 24, 300
"""Values of each sort; how many of the dearest go on; bytes of the longest unit."""


def filled(unit: bytes) -> bytes:
    """The unit over and over."""
    return (unit * (BYTES // len(unit) + 1))[:BYTES]


def dearest(cost: Callable[[bytes], float]) -> list[tuple[float, bytes]]:
    """(cost, unit) of the values, the dearest first. `cost` is of a whole value; the search is the same in every run
    as far as the costs are."""
    r = random.Random("hostile")
    units = [bytes((byte,)) for byte in range(256)] + TOKENS
    units += [b"".join(r.choices(TOKENS, k=r.randrange(2, 5))) for _ in range(ALTERNATIONS)]
    found = {unit: cost(filled(unit)) for unit in units}
    kept = sorted(found, key=found.__getitem__, reverse=True)[:KEPT]
    for _ in range(GROWN):
        first, token = r.choice(kept), r.choice(TOKENS)
        unit = r.choice((first + token, token + first, first + r.choice(kept), first[: len(first) // 2] + token))
        unit = unit[:LONGEST]
        if unit in found:
            continue
        found[unit] = cost(filled(unit))
        if found[unit] > found[kept[-1]]:
            kept = sorted({*kept, unit}, key=found.__getitem__, reverse=True)[:KEPT]
    return sorted(((spent, unit) for unit, spent in found.items()), reverse=True)
