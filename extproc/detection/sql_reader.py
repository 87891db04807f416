"""A small grammar of SQL over tokens: expressions, selects and statements, read as far as they go."""

from __future__ import annotations

from collections.abc import Iterator

from extproc.detection.contract import Reading
from extproc.detection.sql_tokens import FUNCTIONS, TOKENS_LIMIT, Token, is_system, tokens

DEPTH_LIMIT = 24
"""Brackets inside brackets; deeper ones are not read."""


class Reader:
    """Reads tokens as an expression, a select or a statement; remembers what it proved."""

    __slots__ = (
        "_reading",
        "_source",
        "at",
        "depth",
        "has_call",
        "has_compared",
        "has_equal_literals",
        "has_select",
        "has_system",
        "has_weak_call",
        "is_word_only",
        "said",
        "stream",
    )

    def __init__(self, text: bytes, position: int, reading: Reading) -> None:
        self._reading = reading
        self._source: Iterator[Token] | None = tokens(text, position, reading)
        self.stream: list[Token] = []
        self.at = 0
        self.depth = 0
        self.has_equal_literals = False
        self.has_compared = False
        self.has_call = False
        self.has_weak_call = False
        self.has_select = False
        self.has_system = False
        self.is_word_only = True
        self.said: list[str] = []

    def fill(self, size: int) -> None:
        """Read on until there are so many tokens: most texts end to be SQL after the first."""
        while self._source is not None and len(self.stream) < size:
            token = next(self._source, None)
            if token is None:
                self._source = None
            else:
                self.stream.append(token)

    def ahead(self, size: int) -> list[Token]:
        """The next tokens, at most so many."""
        self.fill(self.at + size)
        return self.stream[self.at : self.at + size]

    def ahead_of(self, position: int) -> list[Token]:
        """Three tokens from that place on."""
        self.fill(position + 3)
        return self.stream[position : position + 3]

    def finish(self) -> None:
        """What follows is of no account."""
        is_partly = self._reading.is_partly
        self.fill(TOKENS_LIMIT)
        self._reading.is_partly = is_partly
        self.at = len(self.stream)

    def kind(self, ahead: int = 0) -> str:
        index = self.at + ahead
        if index >= len(self.stream):
            self.fill(index + 1)
        return self.stream[index].kind if index < len(self.stream) else ""

    def text(self, ahead: int = 0) -> bytes:
        index = self.at + ahead
        if index >= len(self.stream):
            self.fill(index + 1)
        return self.stream[index].text if 0 <= index < len(self.stream) else b""

    def say(self, word: str) -> None:
        if len(self.said) < 8:
            self.said.append(word)

    # Expressions

    def expression(self) -> bool:
        """operand (operator operand)*; False if there is no operand where one must be."""
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            self._reading.leave_out()
            return False
        try:
            left = self.operand()
            if not left:
                return False
            while True:
                kind = self.kind()
                if kind == "=":
                    sign = self.text().decode("latin-1")
                    self.at += 1
                    while self.kind() == "=" or (
                        self.kind() == "q" and self.text() in (b"any", b"all", b"some", b"binary")
                    ):
                        self.at += 1
                    right = self.operand()
                    if not right:
                        self.say(sign)
                        return False
                    self.compare(left, sign, right)
                    left = "c"
                elif kind in ("L", "!") or (kind == "q" and self.text() in (b"collate", b"escape")):
                    word = self.text().decode("latin-1")
                    self.at += 1
                    while self.kind() in ("L", "!") or self.text() in (b"distinct", b"from", b"binary"):
                        self.at += 1
                    if word == "collate" and self.kind() == "w":
                        self.at += 1
                        continue
                    right = self.operand()
                    if not right:
                        return False
                    if word == "between":
                        if self.kind() != "|":
                            return False
                        self.at += 1
                        if not self.operand():
                            return False
                    self.compare(left, word, right)
                    left = "c"
                elif kind == "." and self.kind(1) not in ("w", "f", "d", "*"):
                    return True  # the end of a sentence
                elif kind in ("a", "*", "."):
                    self.at += 1
                    while self.kind() in ("a", "!"):
                        self.at += 1
                    right = self.operand()
                    if not right:
                        return self.kind() == "" and False
                    left = "n" if {left, right} <= {"n", "s"} else right
                elif kind == "|":
                    self.say("or" if self.text() in (b"or", b"||") else "and")
                    self.at += 1
                    right = self.operand()
                    if not right:
                        return False
                    left = right
                else:
                    return True
        finally:
            self.depth -= 1

    def compare(self, left: str, sign: str, right: str) -> None:
        names = {
            "n": "number",
            "s": "string",
            "S": "string",
            "k": "constant",
            "v": "variable",
            "w": "name",
            "f": "call",
        }
        names |= {"d": "call", "e": "select", "c": "condition", "p": "brackets"}
        self.say(f"{names.get(left, left)} {sign} {names.get(right, right)}")
        self.is_word_only = False
        literals = {"n", "s", "S", "k", "v", "c"}
        if left in literals and right in literals and (left != "c" or right != "c"):
            self.has_equal_literals = True
        if "w" not in (left, right) or right in ("S", "s", "n", "k", "e", "f", "d", "p", "v"):
            self.has_compared = True

    def operand(self) -> str:
        """The kind of what was read: n s S k v w f d, e a select, p a bracket, c a condition; "" if it is none."""
        while self.kind() in ("a", "!") and self.text() not in (b"|", b"&"):
            self.at += 1
        kind = self.kind()
        if kind in ("q",) and self.text() in (
            b"binary",
            b"distinct",
            b"all",
            b"interval",
            b"row",
            b"exists",
            b"any",
            b"some",
        ):
            self.at += 1
            kind = self.kind()
        if kind == "n":
            self.is_word_only = False
            self.at += 1
            # `1e0union`, `1.e(`: nothing more of a number.
            return "n"
        if kind in ("s", "v", "k"):
            self.is_word_only = False
            self.at += 1
            while self.kind() == "s" and kind == "s":
                self.at += 1
            if self.kind() == "S" and kind == "s":
                self.at += 1
                return "S"
            return kind
        if kind == "S":
            self.is_word_only = False
            self.at += 1
            return "S"
        if kind == "w":
            if is_system(self.text()):
                self.has_system = True
            self.at += 1
            if self.kind() == "." and self.kind(1) in ("w", "*"):
                self.at += 2
            return "w"
        if kind in ("f", "d") or (kind == "L" and self.kind(1) == "("):  # SQLite: `like('a', x)`
            return self.call()
        if kind == "(":
            self.at += 1
            if self.kind() in ("E", "K") or (self.kind() == "(" and self.kind(1) == "E"):
                inner = "e" if self.select() else ""
            else:
                inner = "p"
                if not self.expressions():
                    return ""
            if self.kind() == ")":
                self.at += 1
            elif self.kind() not in ("", "C", ";"):
                return ""
            return inner
        if kind == "E":
            return "e" if self.select() else ""
        if kind == "K":
            return self.case()
        if kind == "*":
            self.at += 1
            return "w"
        return ""

    def call(self) -> str:
        name, kind = self.text(), self.kind()
        is_known = name in FUNCTIONS
        self.at += 1
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            self._reading.leave_out()
            self.depth -= 1
            return ""
        if self.kind() == "(":
            self.at += 1
        is_complete = self.kind() == ")" or self.arguments()
        self.depth -= 1
        if self.kind() == ")":
            self.at += 1
        elif self.kind() not in ("", "C", ";"):
            return ""
        if not is_complete:
            return ""
        if kind == "d":
            self.has_call = True
            self.say(f"call of {name.decode('latin-1')}")
        elif is_known:
            self.has_weak_call = True
            self.say(f"call of {name.decode('latin-1')}")
            self.is_word_only = False
        else:
            return "w"
        self.is_word_only = False
        return kind

    def arguments(self) -> bool:
        while True:
            if self.kind() in ("E", "q") and self.text() in (b"select", b"distinct", b"all"):
                if self.kind() == "E":
                    if not self.select():
                        return False
                else:
                    self.at += 1
                    continue
            elif not self.expression():
                return False
            if self.kind() in ("q", "F", "T", "B", "w", "W") and self.kind() != "":
                # `cast(x as int)`, `substring(x from 1 for 2)`, `group_concat(x order by y)`.
                self.at += 1
                if self.kind() in (")", ""):
                    return True
                if self.kind() in ("w", "f", "q"):
                    self.at += 1
                    if self.kind() == "(":
                        self.at += 1
                        continue
                    if self.kind() in (")", ""):
                        return True
                continue
            if self.kind() != ",":
                return True
            self.at += 1

    def case(self) -> str:
        self.at += 1
        while self.kind() not in ("", "C", ";"):
            if self.text() == b"end":
                self.at += 1
                self.say("case")
                self.has_weak_call = True
                self.is_word_only = False
                return "f"
            if self.kind() == "q":
                self.at += 1
            elif not self.expression():
                return ""
        self.has_weak_call = True
        return "f"

    def expressions(self) -> bool:
        while True:
            if not self.expression():
                return False
            while self.kind() == "q" and self.text() in (b"as", b"asc", b"desc"):
                self.at += 1
                if self.kind() in ("w", "s"):
                    self.at += 1
            if self.kind() == "w":  # an alias
                self.at += 1
            if self.kind() != ",":
                return True
            self.at += 1
            if self.kind() in ("", "C"):
                return True

    # Selects and clauses

    def select(self) -> bool:
        """`select` list [from ...] and its clauses, brackets around it or not."""
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            self._reading.leave_out()
            self.depth -= 1
            return False
        try:
            opened = 0
            while self.kind() == "(":
                opened += 1
                self.at += 1
            if self.kind() == "K":
                return bool(self.case())
            if self.kind() != "E":
                return False
            self.at += 1
            while self.kind() == "q" or (self.kind() == "n" and self.text(-1) == b"top"):
                self.at += 1
            if self.kind() in ("", "C"):
                return False
            before = self.is_word_only
            self.is_word_only = True
            if not self.expressions():
                return False
            is_list_of_words = self.is_word_only
            self.is_word_only = before
            has_from = False
            if self.kind() == "I":
                self.at += 1
                while self.kind() in ("w", "s", "S", "v", ","):
                    self.at += 1
            if self.kind() == "F":
                self.at += 1
                has_from = self.tables()
                if not has_from:
                    return False
            if not (has_from or not is_list_of_words or self.kind() == "W"):
                return False
            had = self.has_select
            self.clauses()
            if is_list_of_words and self.kind() not in ("", "C", ";", ")", "S", "U"):
                # Words from words, and then no SQL: a sentence.
                self.has_select = had
                return False
            self.has_select = True
            self.say("select")
            while opened and self.kind() == ")":
                opened -= 1
                self.at += 1
            return True
        finally:
            self.depth -= 1

    def tables(self) -> bool:
        count = 0
        while True:
            if self.kind() in ("w", "v", "s", "f", "d", "k"):
                if is_system(self.text()):
                    self.has_system = True
                    self.say("system table")
                if self.kind() in ("f", "d"):
                    if not self.call():
                        return False
                else:
                    self.at += 1
            elif self.kind() == "(":
                if not self.operand():
                    return False
            else:
                return count > 0
            count += 1
            if self.kind() == "q" and self.text() == b"as":
                self.at += 1
            if self.kind() == "w":
                self.at += 1
            if self.kind() == ",":
                self.at += 1
                continue
            while self.kind() in ("q", "J") and self.text() not in (b"for", b"using"):
                if self.text() == b"on":
                    self.at += 1
                    if not self.expression():
                        return True
                elif self.kind() == "J":
                    self.at += 1
                    break
                else:
                    self.at += 1
            else:
                return True

    def clauses(self) -> None:
        while True:
            kind = self.kind()
            if kind in ("W", "H"):
                self.at += 1
                if not self.expression():
                    return
            elif kind in ("B", "T"):
                self.at += 1
                if not self.expressions():
                    return
                if self.kind() == "q":
                    self.at += 1
            elif kind == "U":
                if not self.union():
                    return
            elif kind == "I":
                self.at += 1
                self.has_call = True
                self.say("into a file")
                while self.kind() in ("w", "s", "S", "v"):
                    self.at += 1
            else:
                return

    def union(self) -> bool:
        """`union [all] select ...`."""
        self.at += 1
        while self.kind() == "q":
            self.at += 1
        if self.kind() == "f" and self.text() == b"values":
            return bool(self.call())
        return self.select()

    def statement(self) -> bool:
        """What stands behind a `;` or is all of the text."""
        kind, word = self.kind(), self.text()
        if kind == "E" or (kind == "(" and self.kind(1) == "E"):
            return self.select()
        if kind == "D":
            self.at += 1
            while self.kind() == "q" or self.text() in (b"temporary", b"or"):
                self.at += 1
            if self.text() in _OBJECTS:
                return self.object_statement(word)
            if word == b"truncate" and self.kind() == "w" and self.kind(1) in ("", "C", ";"):
                self.say("truncate")
                self.finish()
                return True
            return False
        if kind == "N":
            return self.change_statement(word)
        if kind == "X":
            return self.run_statement(word)
        if kind in ("d",):
            return bool(self.call())
        if kind == "K":
            return bool(self.case())
        if kind == "w" and word == b"if":
            self.at += 1
            return self.expression() and (self.has_compared or self.has_equal_literals or self.has_select)
        if kind == "f" and word in (b"if", b"iif"):
            return bool(self.operand()) and self.kind() in ("", "C", ";", "E", "X", "D", "N", "q")
        return False

    def object_statement(self, word: bytes) -> bool:
        """`drop table name`, `create user name identified by ...`: what follows the name must be SQL again."""
        thing = self.text().decode("latin-1")
        self.at += 1
        while self.kind() in ("q", "!") or self.text() in (b"if", b"exists"):
            self.at += 1
        if self.kind() not in ("w", "s", "S", "f", "n", "v"):
            return False
        is_open = self.kind() == "S"
        self.at += 1
        follows = self.kind() in ("", "C", ";", ",", "(", ")", "S") or self.text() in _AFTER_NAME
        if not (follows or is_open):
            return False
        self.say(f"{word.decode()} {thing}")
        self.finish()
        self.has_compared = True
        return True

    def change_statement(self, word: bytes) -> bool:
        """`insert into name (...) values (...)`, `update name set a = ...`, `delete from name`, `load data infile`."""
        rest = self.ahead(16)
        texts = [token.text for token in rest]
        kinds = "".join(token.kind for token in rest)
        if word in (b"insert", b"replace", b"merge", b"upsert"):
            at = texts.index(b"into") if b"into" in texts[:3] else -1
            is_real = (
                at > 0
                and kinds[at + 1 : at + 2] in ("w", "s", "v", "f")
                and (
                    kinds[at + 2 : at + 3] in ("(", "E", "X")
                    or texts[at + 2 : at + 3] in ([b"values"], [b"value"], [b"set"])
                )
            )
        elif word == b"update":
            is_real = b"set" in texts[2:5] and "=" in kinds[3:]
        elif word == b"delete":
            is_real = kinds[1:3] == "Fw" and (
                kinds[3:4] in ("", "C", ";", "S") or (kinds[3:4] == "W" and "=" in kinds[4:8])
            )
        else:
            is_real = word == b"load" and b"infile" in texts
        if is_real:
            self.say(word.decode())
            self.has_compared = True
            self.has_system |= any(is_system(text) for text in texts)
            self.finish()
        return is_real

    def run_statement(self, word: bytes) -> bool:
        following = self.ahead(4)[1:]
        kinds = "".join(token.kind for token in following)
        texts = [token.text for token in following]
        if word == b"waitfor":
            is_real = texts[:1] in ([b"delay"], [b"time"]) and kinds[1:2] in ("s", "S", "v", "n")
        elif word == b"call":
            is_real = kinds[:1] in ("f", "d") or kinds[:2] == "(s"
        elif word in (b"exec", b"execute"):
            is_real = bool(texts) and (
                texts[0].rpartition(b".")[2].startswith((b"xp_", b"sp_", b"dbms_", b"immediate"))
                or kinds[0] == "v"
                or kinds[:3] == "(s)"
                or kinds[:2] in ("(v", "(S", "(f", "(d")
                or (kinds[0] == "d")
                or (kinds[:2] in ("ws", "wv", "fs", "s", "sC", "s;"))
            )
        elif word == b"declare":
            is_real = kinds[:1] == "v"
        elif word == b"shutdown":
            is_real = not following or kinds[0] in "C;" or texts[0] == b"with"
        elif word == b"begin":
            is_real = kinds[:1] in ("w", "f", "X", "d") and any(token.kind == "d" for token in self.ahead(8))
        elif word in (b"backup", b"restore"):
            is_real = texts[:1] in ([b"database"], [b"log"])
        elif word in (b"copy", b"do", b"handler", b"prepare"):
            is_real = kinds[:2] in ("wF", "s", "wq") and word != b"do"
        else:
            is_real = False
        if is_real:
            self.say(word.decode())
            self.has_call = True
            self.finish()
        return is_real


_AFTER_NAME = frozenset(
    b"cascade restrict add drop modify rename set for with as to by identified on alter change column owner password "
    b"default temporary in from".split()
)
_OBJECTS = frozenset(
    b"table database schema view user index procedure function trigger role column login tablespace sequence alias "
    b"server package assembly type extension event".split()
)
