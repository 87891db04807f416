"""XML bodies: text and attribute values, no entity expanded and nothing fetched.

`XML:/*` is in libmodsecurity 3.0.15 the text of the whole document as one value, `XML://@*` one value
per attribute (namespace declarations are none). Both hold here. Entity declarations end the parsing:
whoever expands them (billion laughs, external files) is attacked by them, and the rest of the document,
declarations included, becomes one more value of `xml_text` as it stands, so that rules still see it. The
same is done with the rest of a malformed document, which a lenient parser may well read.
"""

from __future__ import annotations

from contextlib import suppress
from xml.parsers import expat  # its own limits on amplification aside, we stop at the first declaration

from extproc.bodies.contract import BodySteps, Limits, ParsedBody

STEP_BYTES = 4096
"""Input fed to the parser in one step; small, for every tag costs a call back into Python."""


class _Stop(Exception):  # noqa: N818 - not a fault: the reading ends here
    """`partly` is the word of the limit passed, None for what is refused."""

    def __init__(self, reason: bytes, partly: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.partly = partly


class _Handlers:
    """What expat calls: collects text and attributes, and holds the limits."""

    def __init__(self, parsed: ParsedBody, limits: Limits) -> None:
        self.parsed = parsed
        self.limits = limits
        self.open: list[bytes] = []
        self.text: list[bytes] = []
        self.run: list[bytes] = []
        self.nodes = 0

    def count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > self.limits.xml_nodes:
            raise _Stop(b"More than %d nodes." % self.limits.xml_nodes, "xml-nodes-limit")

    def end_run(self) -> None:
        """A tag ends a text run (CDATA sections and comments do not)."""
        if self.run:
            run = b"".join(self.run)
            self.run.clear()
            self.text.append(run)
            if not run.isspace():
                self.parsed.xml_leaves.append((self.open[-1] if self.open else b"", run))
            self.count(1)

    def start(self, name: str, attributes: list[str]) -> None:
        self.end_run()
        self.open.append(_encode(name))
        if len(self.open) > self.limits.xml_depth:
            raise _Stop(b"Deeper than %d elements." % self.limits.xml_depth, "xml-depth-limit")
        self.count(1 + len(attributes) // 2)
        for key, value in zip(attributes[::2], attributes[1::2], strict=True):
            if key != "xmlns" and not key.startswith("xmlns:"):
                raw = _encode(value)
                self.parsed.xml_attributes.append(raw)
                self.parsed.xml_leaves.append((b"@" + _encode(key), raw))

    def end(self, name: str) -> None:
        self.end_run()
        self.open.pop()

    def characters(self, data: str) -> None:
        self.run.append(_encode(data))

    def doctype(self, name: str, system: str | None, public: str | None, has_internal_subset: int) -> None:
        """An external subset is never fetched; its address is shown to the rules as an attribute."""
        if system is not None:
            self.parsed.flags["XML_EXTERNAL_SUBSET"] = 1
            self.parsed.xml_attributes.append(_encode(system))

    def default(self, element: str, name: str, kind: str, value: str | None, is_required: int) -> None:
        """A default in the DTD is shown once, where it is declared, not at every element that lacks the attribute."""
        if value is not None:
            self.count(1)
            self.parsed.xml_attributes.append(_encode(value))

    def entity(self, *declaration: object) -> None:
        self.parsed.flags["XML_ENTITY_DECLARATION"] = 1
        raise _Stop(b"Entity declaration refused.")


def xml_body(body: bytes, content_type: bytes, limits: Limits) -> BodySteps:
    """Processor XML. `flags` has XML_ENTITY_DECLARATION and XML_EXTERNAL_SUBSET, 0 or 1 (ours, not ModSecurity's).

    Limits passed: `xml-depth-limit`, `xml-nodes-limit` (elements, attributes and text runs together).
    An empty body is no error. Encodings: those of expat (UTF-8, UTF-16, Latin-1) and Python's one-byte ones.
    """
    parsed = ParsedBody(processor="XML", flags={"XML_ENTITY_DECLARATION": 0, "XML_EXTERNAL_SUBSET": 0})
    if not body:
        return parsed
    handlers = _Handlers(parsed, limits)
    parser = expat.ParserCreate()
    parser.ordered_attributes = True
    parser.specified_attributes = True
    parser.buffer_text = True
    parser.StartElementHandler = handlers.start
    parser.EndElementHandler = handlers.end
    parser.CharacterDataHandler = handlers.characters
    parser.StartDoctypeDeclHandler = handlers.doctype
    parser.AttlistDeclHandler = handlers.default
    parser.EntityDeclHandler = handlers.entity
    rest_from = -1
    try:
        fed = 0
        while fed < len(body):
            # At least as much as waits unparsed: expat reads an unfinished token anew each time.
            size = max(STEP_BYTES, fed - max(parser.CurrentByteIndex, 0))
            parser.Parse(body[fed : fed + size], False)
            fed += size
            yield
        parser.Parse(b"", True)
    except _Stop as stop:
        parsed.error = b"XML parsing error: XML: " + stop.reason
        parsed.partly = stop.partly
        if stop.partly is None:
            rest_from = body.rfind(b"<!ENTITY", 0, max(parser.CurrentByteIndex, 0))
            rest_from = max(rest_from, 0)  # not found in UTF-16: all of it
    except (expat.ExpatError, LookupError, ValueError) as error:
        # LookupError, ValueError: the declared encoding is unknown to Python, or has more than one byte.
        reason = expat.ErrorString(error.code) if isinstance(error, expat.ExpatError) else "unknown encoding"
        parsed.error = b"XML parsing error: XML: Failed to parse document. (%s)" % _encode(str(reason))
        # From the tag in which it broke, whose attributes were not reported.
        rest_from = max(body.rfind(b"<", 0, max(parser.ErrorByteIndex, 0) + 1), 0)
    parser.buffer_text = False  # hands over the text in front of what broke
    with suppress(_Stop):
        handlers.end_run()
    text = b"".join(handlers.text)
    parsed.xml_text = [text] if text else []
    if rest_from >= 0:
        parsed.xml_text.append(body[rest_from:])
    return parsed


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
