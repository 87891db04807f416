"""Is a fingerprint an injection? Patterns over the kinds of at most five tokens.

A pattern names a kind per place, `[..]` any of these, `V` a value: a number, a name, a string, a variable.
The patterns were induced from behaviour: fragments made from a grammar of SQL, from attack lists changed at random
and from plain text were shown to libmodsecurity's @detectSQLi, and the answers generalised until few patterns
were left (docs/decisions/0012). They say somewhat more than what was seen: where every neighbour is an
injection, so is the gap. No pattern holds for a fingerprint that was seen to be harmless in plain text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from extproc.operators.sqli_tokens import open_quote

THREE = """
    1 [soB] v
    E V )
    E s [1v)]
    E v [ns)]
    U E [1sv]
    [1E] v [s)]
    V B [1sv]
    V U [E;c]
    [1sv] B V
    [1sv] [)U] c
    [nsv] [&B] v
    [sE] [1o] v
    [sv] [&B] [1nv]
    v [o&B] s
"""
"""Fingerprints of three kinds; some more are decided by what was written, see CONDITIONS."""

FOUR = """
    1 [nsv] U E
    E [1sv] k n
    E [1v] [ns)] [;c]
    E [ns] [1)] [;c]
    E k 1 [nsv)]
    E k [1v] [s)]
    E k [ns] [1)]
    E k s [1v)]
    T n V ;
    U E V [;c]
    U E k V
    [1E] s v [;c]
    [1ns] [o&] V U
    V & [1svk] c
    V & [sE] [1sv]
    V & v [s;Uc]
    V ) [&B] V
    V ) [o&B] [sv]
    V ; [Tt] ;
    V B V [;c]
    V U E [1nsvf;kc]
    V U [1svE;] c
    V [Eok&B] [1sv] [;c]
    V [o&] s [;Uc]
    [1s] [vok&B] s [;c]
    [1sv] & V [;Uc]
    [1sv] ) [o&B] [1sv]
    [1sv] [&U] E V
    [1sv] [Ek&B] V c
    [1sv] [k&B] V [;c]
    [ns] [1ok&B] [sv] [;c]
    [sE] 1 [nsv] [;c]
    f ( ) [Uc]
    f ( V )
    n [1s] U E
    s [1v] U E
    s [o&] V [;U]
    v ) [o&B] V
"""

FIVE = """
    1 T n [E(oT] [1svf]
    1 [n);&UBTt] E ( [1nsvf]
    1 [n);&U] E V [oc]
    1 [nE)k] U E [1vfk]
    1 [nsv] U E [;kc]
    1 o [sv] [,kUT] [1sf(]
    E [(k] V & [1nsvf(]
    E [(k] V ) [;ok&Uc]
    E [(k] V [,&] f
    E [1ns] o [nsv] [f(),;k&UB]
    E V ) ; [E(Ttc]
    E V ) [o&] [1nsvf(]
    E V [,ok&B] f (
    E V [;ok&U] ( E
    E V [k&B] V [)o]
    E V k [1sv] [)ok]
    E V k n [);kUc]
    E [1nsvk] [fo&B] ( [1nsvf]
    E [1nsvo] [ok&] ( E
    E [1s] [v)] o [sf(]
    E [1v] [n)] k n
    E [fk] ( E [1nsvf(k]
    E [fk] ( [1nsvo] )
    E [fk] ( [1sv] [sf),o&]
    E [v(] [ns] o [svf(]
    E f ( ) [1nsvf,;ok&UB]
    E k ( [ns] [1f(),o&]
    E k 1 [nsv] [f;kc]
    E k V [f,;k&UB] (
    E k [1s] v [f;okc]
    E k [1sv] [ok&B] [1nsvf(]
    E k [ns] [1)] [;kc]
    E k n [(k&B] [1svf]
    E k v s [f;okc]
    E s o [1sv] [sf(),;k&UB]
    T ( [ns] [nsv] [)o]
    T [nf] ( [1sv] [)o]
    T n [1ns] o [1nsvf(]
    U E ( V [),o]
    U E V [,ok] [1nsvf(]
    U E [nf] ( )
    U E k [1sv] [,;okc]
    U E k n [(,;kc]
    [1E] [nfk] ( [1sv] o
    [1E] [nfk] ( [sv] [)o]
    [1E] n ) U E
    [1E] n U ( E
    [1E] n [(,&] f (
    [1ns] [o&] V ) [ok&Uc]
    [1ns] [sE,ok&UBTA] f ( [1nsvf)]
    [1ns] k [1n)] [;U] [ET]
    [1ns] o [nsv] [(&BTt] E
    [1ns] o [nsv] k [)UB]
    [1ns] o [sv] ) [fE,;ok&UBc]
    [1ns] o [sv] [()&] [EU]
    [1ns] o [sv] [;UTt] [ET]
    [1ns] o [sv] [Ek&BT] [1nsvf(]
    [1ns] o [sv] [UTA] [svf(Tt]
    [1ns] o v [sE] [1vf(oU]
    [1nsv)] U E ( [1nsvfEo]
    [1nsv)] U E V [ok]
    [1nsv)] U E k [1nsvf(]
    [1nsvE] [fE,kU] ( f (
    [1nsvE] f ( ) [1nsvfokU]
    [1nsvE] f ( n [,o]
    [1nsvE] k [1nsv)] [E&B] [1svf(]
    [1nsvEk&UT] f ( f (
    [1nsvU] [fE] ( V o
    V & V ) [o&Uc]
    V & V U [E(;c]
    V & [1sv] [EkBT] n
    V & [sE] [1v] [;c]
    V & [sk] o [1nsvf(]
    V & [vE] s [;oc]
    V & k [no] k
    V ) & V [f);oUBc]
    V ) ; [ET] [1nsvf(ok]
    V ) ; [ETt] [ok]
    V ) B 1 [n;ok&Uc]
    V ) [E,ok&B] ( [1nsvf]
    V ) [Eok&B] f (
    V ) [fE,ok&B] ( f
    V ) [o&B] ( [1nsvfE]
    V ) [oB] V [;k&Uc]
    V ) [ok&] V [;&UB]
    V ) [okB] n [;k&Uc]
    V ) k B [1nsvf(]
    V ) k [1nsvU] E
    V ) o V [);k&UBc]
    V ; T [1nsv(;] c
    V ; T V [f(,;okTtc]
    V ; T [n(k] [1nsvf(]
    V ; [ET] V [,;okTtc]
    V ; [ET] [fk] (
    V ; [ET] [n(] E
    V ; [ETt] k [1svf(o]
    V ; [Tt] [1ok] (
    V ; [Tt] k [1svf(ok]
    V A [svT] U E
    V A [svTt] o [1nsvf(]
    V B V [,ok&B] [f(]
    V B V [k&B] [1nsvf(]
    V E U [1sv] [,oc]
    V E V T [1nsvf(]
    V E V [oT] [nsvf(]
    V E [fU] ( [1nsvf]
    V E o k n
    V T V [(o] f
    V T n V [oc]
    V T n [E(oT] [1svf(]
    V T n [E;kT] n
    V U E V [sf(),;ok&UBc]
    V U E [1nsvf] [(,;c]
    V U E [1sk] [nsvf();o&Uc]
    V U E [1vo] [nk]
    V U E [s(k] [1vfo]
    V U [EoT] n [1sf(]
    V U [Eok] ( E
    V [&B] V [okB] [1svf(]
    V [&T] [nE(] f (
    V [&UBT] [fE] ( [1nsvf]
    V [&U] E ( [1nsvfo]
    V [);&UTt] E [(k] [1nsvf(]
    V [)U] [EB] V [oc]
    V [)k] U E [1nsvf(k]
    V [)o&] k [1sv] o
    V [;&U] E V [;okc]
    V [;U] T n [1nsvf(]
    V [E)k] U E [fk]
    V [E,ok&UBTA] f ( [1nsvf)]
    V [Ek&B] V U E
    V [Ek&UBTA] s o [1nsvf(]
    V [Ek&] V ; [Tt]
    V [EkUT] [1sv] o [1svf(]
    V [Eo&UT] ( V [)o]
    V [Eok&UBA] f ( [1nsvfE)]
    V [Tt] E V [no]
    V [Tt] T n [nEkTt]
    V [UB] [1sv] [,o] [f(]
    V [UTt] E [1nv] [no]
    V [f,o&U] ( E [1nsvf(k]
    V [fE,ok&UBTA] ( [nsv] o
    V [fE,ok&UBTA] ( f (
    V [k&B] V ; c
    V [k&B] V U [E(]
    V [k&T] n ; [ETt]
    V [k&] V ; [ETtc]
    V [k&] [1sv] E [nk]
    V [o&] ( E [1nsvf(ok]
    V [o&] ( V [),o&]
    V [o&] [1sv(k] f (
    V [o&] [sv] [;U] [Ec]
    V [o&] k [(&] [1nsvf]
    V [ok] [sU] E [nk]
    V k ) [fEo&B] (
    V k [1nsv)] ; [ETt]
    V k [1sv)U] E [1nsvf(k]
    V k [1sv)] [E&B] [1nsvf(]
    V k [1sv)] [Eo&B] [f(]
    V o ( E [1nsvfE(ok]
    V o [sk] [f&] (
    V o [sv] [EU] [1svf(ok]
    V o k V c
    V o s [&UBTt] [1E]
    V o s [)&U] [fEk]
    V o s [1E,k&BTA] [nsvf(]
    V o s [1vE()k&] U
    V o s [;UTtA] T
    V o s [vE] [sf(oU]
    [1sE&] v o s [1vf(U]
    [1sET] v [fo] ( [1nsvf]
    [1sE] [vk] s o [1nsvf(]
    [1s] [fE,ok&] [n(] [fA] (
    [1s] [o&] V [;U] [ETc]
    [1s] [ok] V [E&B] [1nsvf(]
    [1s] o V [)U] [fE,;ok]
    [1s] o [sv] [;T] [nETt]
    [1svEk&T] f ( [1nsv)] [)o]
    [1svU] E [(kU] f (
    [1svU] E [fkU] ( [1nsvf]
    [1svU] [(Ut] E f (
    [1sv] & V [EokBT] n
    [1sv] ; [Tt] [kT] n
    [1sv] E k [(U] [1svfE(]
    [1sv] E k V [;oUTtc]
    [1sv] [();&UTt] E k [nf]
    [1sv] [()o] U ( E
    [1sv] [fE,o&UBT] ( V [)o]
    [1sv] [fE,ok&UTA] ( [nsv] [)o]
    [1sv] f ( [1)] [no]
    [1svfU] ( E n k
    [E&T] V o ( [1nsvf]
    [E&T] V o [sv(] f
    [E&] [1ns] o [svf] (
    [E&] [1ns] o v [sf(U]
    [E&] V U E [1nsvf(k]
    [E&] V o s [1vf(U]
    [ET] ( V [fo] (
    [ET] ( [1s] v [)o]
    [ET] ( [nf] ( [1svf]
    [ET] ( n 1 [)o]
    [ET] [n(] f ( [1nsvf)]
    [Ek&T] ( [1ns] o [nsvf(]
    [Ek&T] ( [sv] o [1sf(]
    [Ek&T] [1sv] o f (
    [Ek&] s o 1 [nsvf(,]
    [Ek&] s o [ns] [1f(]
    [Ek] V [,k] ( [1nsvf]
    [Ek] [1sv] o s [1vf(,k]
    [fE&T] ( V ) [fo]
    [fE&] ( V ) [oU]
    [fEU] ( E [(k] [1nsvf(]
    [fEU] ( E V [)o]
    [fE] ( E V [)o&]
    [fE] ( V ) [1nsvf,;ok&UBc]
    [fE] ( [fE] ( [1nsvfE]
    [fEk&T] ( f ( [1nsvf)]
    [fU] ( E [no] k
    [fk] ( V ) [E,okA]
    [nE&] 1 o [sv] [sf(U]
    [nE&] s o V U
    [nEk&T] 1 o ( [1nsvf]
    [nEk&] 1 [ok] f (
    [nsE] 1 [sv] ; c
    [ns] [1Ek&UBTA] v o [sf(]
    [nsv] [fE,ok&UBT] ( [1sv] [)o]
    [sET] [1sv] f ( [1nsvf]
    [sE] [1vk] f ( [1nsvf)]
    [sv] [o&] [ns] ) [o&Uc]
    f ( ) [1nsvfEU] [(o]
    f ( ) [1sEok] [nsvf(U]
    f ( ) [;&BT] [nE]
    f ( ) [;UTt] [ETt]
    f ( ) [E,ok&UBT] [1svf(]
    f ( ) [Eo&U] [1svf(k]
    f ( ) n [1fE(),o&U]
    f ( [1nsv)] [,o&] [1nsvf(]
    f ( [1nsv)kTt] , [f(]
    f ( V ) [1nsvfE,;ok&UBTAc]
    k V [,kA] f (
    k V [kA] [sv] o
    k V k V U
    k V k [1sv] [oU]
    k [1s] o [nsv] [f(,kA]
    k [1sv] [,okA] ( [1nsvf]
    n [1s] U E [;kc]
    n [o&B] ( V [o&]
    s [1v] U E [;kc]
    s [oT] n [E(oT] [1svf]
    s o 1 [nv(&] [E(U]
    s o V [)k] [fUB]
    s o V [,kUT] [1sf(]
    s o V [;T] [nETt]
    s o V [UTA] [svf(T]
    s o [1s] [vEU] [sf(o]
    s o [1sv] [Ek&] [1nsvf(kU]
    s o n [1E] [v(oU]
"""

_VALUE = "1nsv"

FINGERPRINTS = 1 << 13
"""Decisions remembered; the least recently used is forgotten."""


def places_of(pattern: str) -> list[str]:
    """The kinds that a pattern allows, place by place."""
    return [_VALUE if place == "V" else place.strip("[]") for place in pattern.split(" ")]


def _masks(patterns: str) -> list[dict[str, int]]:
    """Per place: kind → a bit for every pattern that allows the kind there."""
    rows = [places_of(line.strip()) for line in patterns.strip().splitlines()]
    masks: list[dict[str, int]] = [{} for _ in rows[0]]
    for number, row in enumerate(rows):
        for place, kinds in enumerate(row):
            for kind in kinds:
                masks[place][kind] = masks[place].get(kind, 0) | 1 << number
    return masks


_MASKS_OF_LENGTH = {len(masks): masks for masks in map(_masks, (THREE, FOUR, FIVE))}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was written, for the short fingerprints that depend on it.

    `texts` begins with those of the fingerprint's kinds. `count(most)` says how many tokens there were before folding,
    but never more than `most`: all of a long value is not read for that.
    `opened` is the quote that the fragment is thought to stand in, or empty.
    """

    value: bytes
    texts: list[bytes]
    count: Callable[[int], int]
    opened: bytes


def _comments_out(evidence: Evidence) -> bool:
    """`admin'--` and `admin'/*`, but not `well' -- perhaps`."""
    comment = evidence.texts[1]
    return comment == b"--" or _opens_comment(evidence)


def _opens_comment(evidence: Evidence) -> bool:
    """After a name only `/*` counts. The name of a procedure that keeps its line out of SQL Server's log does, too."""
    comment = evidence.texts[1]
    return comment.startswith(b"/*") or (comment[:1] != b"#" and b"sp_password" in evidence.value.lower())


def _comments_out_after_number(evidence: Evidence) -> bool:
    """`1--`, `1 --` and `1/*`, with nothing before the number; `1#` is a fragment of a link."""
    if evidence.texts[1].startswith(b"#"):
        return False
    rest = evidence.value[len(evidence.texts[0]) :]
    return rest[:1] <= b" " or rest.startswith((b"/*", b"--")) or evidence.count(3) > 2


def _was_folded(evidence: Evidence) -> bool:
    """As many plain words as kinds are prose (`1 and 2`); with a sign or a calculation among them they are not."""
    return evidence.count(len(evidence.texts) + 1) != len(evidence.texts)


def _spans_quotes(evidence: Evidence) -> bool:
    """`x' = 'y`: the fragment closes the string it stands in, and opens the one that follows it."""
    last = evidence.texts[2]
    return evidence.opened != b"" and open_quote(last) == evidence.opened


def _writes_file(evidence: Evidence) -> bool:
    """INTO OUTFILE, INTO DUMPFILE: no other keyword does between two values."""
    return evidence.texts[1].startswith(b"INTO ")


CONDITIONS: dict[str, Callable[[Evidence], bool]] = {
    "1c": _comments_out_after_number,
    "nc": _opens_comment,
    **dict.fromkeys(("sc", "vc"), _comments_out),
    **dict.fromkeys(("1U", "nU", "sU", "vU", "1&1", "1&s", "1&v", "n&1", "s&n"), _was_folded),
    **dict.fromkeys(("sos", "s&s"), _spans_quotes),
    **{f"{left}k{right}": _writes_file for left in _VALUE for right in _VALUE},
}
"""Fingerprints that are an injection only if something else holds."""


@lru_cache(FINGERPRINTS)
def is_injection(fingerprint: str) -> bool:
    """Does a fragment with this fingerprint, one that is not in CONDITIONS, change the query it is put into?"""
    masks = _MASKS_OF_LENGTH.get(len(fingerprint))
    if masks is None:
        return fingerprint == "X"
    allowed = -1
    for place, kind in zip(masks, fingerprint, strict=True):
        allowed &= place.get(kind, 0)
    return allowed != 0
