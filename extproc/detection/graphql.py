r"""GraphQL that asks for too much: documents made to cost, not to answer.

What is refused is a shape, whatever the fields are called:

- selections within selections, deeper than any screen needs;
- the same field again and again under other names (aliases): a list of guesses in one request;
- the same field or directive repeated;
- fragments that use each other in a circle, which the specification forbids (section 5.5.2.2).

The text must be a document: an operation or a selection at its start, brackets that pair. Whether a schema may be asked
for, and whether operations may come in batches, is a policy and not an attack: see the rules over `TX:graphql_...`.
"""

from __future__ import annotations

from collections import Counter

from extproc.detection.contract import UNCOUNTED, Detector, Finding, Place, Reading
from extproc.detection.pattern import find_here

LIMIT_BYTES = 65_536

DEPTH_LIMIT = 20
"""Selections within selections; the usual question for a whole schema has fourteen."""

ALIASES_LIMIT = 30
"""Other names of one field in a document."""

REPEATS_LIMIT = 100
"""Times that one name may be selected in one document."""

DIRECTIVES_LIMIT = 30
"""Of one document."""

FRAGMENTS_LIMIT = 200
"""Definitions of fragments that are looked at."""

TOKEN_STEPS = 2
"""What it costs to read one token."""

TOKENS_LIMIT = 8000
"""Tokens of a document that are looked at."""

_START = find_here(
    rb"[\s,\xef\xbb\xbf]*(?:#[^\n]*\n\s*)*(?:(?:query|mutation|subscription)\b\s*[\w$]*\s*[({@]"
    rb"|fragment\s+\w+\s+on\s|\{\s*(?:\.\.\.|[a-z_]\w*\s*[({:@\s}]))"
)
_TOKEN = find_here(
    rb"[\s,]*(?:#[^\n]*)?[\s,]*(\"\"\"|\"(?:[^\"\\\n]|\\.)*\"|\.\.\.|[a-z_]\w*|[{}()\[\]:@$!=|&]"
    rb"|-?[0-9][0-9.e+-]*|.)"
)

_SCORE = 6


def detect(text: bytes, place: Place, reading: Reading = UNCOUNTED) -> Finding | None:
    """The first shape that is too much."""
    if _START(text, 0) is None:
        return None
    return _Document(text, reading).judge()


class _Document:
    """One reading of a document: depth, aliases, repeats, directives, fragments."""

    def __init__(self, text: bytes, reading: Reading) -> None:
        self._text = text
        self._reading = reading
        self._aliases: Counter[bytes] = Counter()
        self._fields: Counter[bytes] = Counter()
        self._spreads: dict[bytes, set[bytes]] = {}
        self._directives = 0
        self._deepest = 0

    def judge(self) -> Finding | None:
        """What is too much, or None."""
        self._read()
        span = (0, len(self._text))
        if self._deepest > DEPTH_LIMIT:
            return Finding("graphql", _SCORE, span, "document", f"selections {self._deepest} deep")
        aliases = self._aliases.most_common(1)
        if aliases and aliases[0][1] > ALIASES_LIMIT:
            return Finding("graphql", _SCORE, span, "document", f"one field under {aliases[0][1]} names")
        if self._directives > DIRECTIVES_LIMIT:
            return Finding("graphql", _SCORE, span, "document", f"{self._directives} directives")
        fields = self._fields.most_common(1)
        if fields and fields[0][1] > REPEATS_LIMIT:
            return Finding("graphql", _SCORE, span, "document", f"one field {fields[0][1]} times")
        if self._is_circular():
            return Finding("graphql", _SCORE, span, "document", "fragments that use each other in a circle")
        return None

    def _read(self) -> None:
        text, position, depth, brackets = self._text, 0, 0, 0
        fragment, before, second = b"", b"", b""
        for _ in range(TOKENS_LIMIT):
            spans = _TOKEN(text, position)
            if spans is None or not self._reading.spend(TOKEN_STEPS):
                return
            token = text[spans[1][0] : spans[1][1]]
            position = spans[0][1]
            if token == b'"""':
                end = text.find(b'"""', position)
                position = len(text) if end < 0 else end + 3
            elif token == b"{":
                depth += brackets == 0
                self._deepest = max(self._deepest, depth)
            elif token == b"}":
                depth -= brackets == 0
                if depth <= 0:
                    depth, fragment = 0, b""
            elif token in (b"(", b"["):
                brackets += 1
            elif token in (b")", b"]"):
                brackets = max(0, brackets - 1)
            elif token == b"@":
                self._directives += 1
            elif brackets == 0 and (token[:1].isalpha() or token[:1] == b"_"):
                if depth == 0:
                    if before == b"fragment":
                        if len(self._spreads) == FRAGMENTS_LIMIT:
                            self._reading.leave_out()
                        else:
                            fragment = token
                            self._spreads.setdefault(fragment, set())
                elif before == b"...":
                    if fragment and token != b"on":
                        self._spreads[fragment].add(token)
                elif before != b"@" and second != b"...":
                    self._fields[token] += 1
                    if before == b":":
                        self._aliases[token] += 1
            second, before = before, token
        if position < len(text):
            self._reading.leave_out()

    def _is_circular(self) -> bool:
        done: set[bytes] = set()
        for start in self._spreads:
            path, ahead = [start], [iter(self._spreads[start])]
            while ahead and start not in done:
                following = next(ahead[-1], None)
                if following is None:
                    done.add(path.pop())
                    ahead.pop()
                elif following in path:
                    return True
                elif following in self._spreads and following not in done:
                    path.append(following)
                    ahead.append(iter(self._spreads[following]))
        return False


DETECTOR = Detector(
    kind="graphql",
    gate=((frozenset((b"{",)), frozenset((b"}", b"{"))),),
    detect=detect,
    limit_bytes=LIMIT_BYTES,
)
