"""SQL as databases read it, token by token: comments, strings and names of all common dialects, one kind a token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from extproc.detection.contract import Reading

TOKEN_STEPS = 6
"""What it costs to read one token and to find its place in the grammar."""

TOKENS_LIMIT = 200
"""Tokens read from one starting point. An injection shows within a few dozen."""

COMMENT_LINE_BYTES = 32
"""A comment up to the end of its line that is longer stands in a text of several lines, not between the words of one
injection: what follows it is not read on from there."""


class Token(NamedTuple):
    """`kind` is one of the letters below, `text` in lower case (empty for strings and comments)."""

    kind: str
    text: bytes
    start: int
    end: int


# n number    s string    S string that the text ends in    v variable, placeholder    k constant
# w word      f name of a function with its bracket behind it    d the same, of one that waits, reads files, ...
# = comparison by a sign    L by a word    | and, or, xor    ! not    a arithmetic, concatenation    * star or times
# U union and the like    E select    F from    W where    B order by, group by    H having    T limit    I into
# K case    q a word of SQL without weight    X, D, N statements that run, change the schema, change data
# ( ) , ; . themselves    C comment to the end    # a line of comment in a longer text    ? what no SQL holds

_WORDS: dict[bytes, str] = {}
for _kind, _names in (
    ("|", "or and xor div_or"),
    ("!", "not"),
    ("L", "like ilike rlike regexp regex similar sounds glob in is between match soundslike"),
    ("k", "null true false current_user session_user system_user current_date current_timestamp current_time sysdate"),
    ("U", "union except intersect minus"),
    ("E", "select"),
    ("F", "from"),
    ("W", "where"),
    ("H", "having"),
    ("T", "limit offset fetch"),
    ("I", "into"),
    ("K", "case"),
    ("J", "join"),
    (
        "q",
        "when then else end as on distinct all any some top asc desc collate escape binary interval exists by "
        "values value set using returning nulls first last only rows row next for to with recursive distinctrow "
        "sql_no_cache unique inner outer left right cross natural full",
    ),
    ("X", "exec execute call declare waitfor shutdown begin backup restore kill prepare deallocate handler do copy"),
    ("D", "drop alter create truncate rename grant revoke"),
    ("N", "insert update delete replace merge upsert load"),
    ("a", "div mod"),
):
    _WORDS |= dict.fromkeys(_names.encode().split(), _kind)

DANGEROUS = frozenset(
    b"sleep benchmark pg_sleep load_file extractvalue updatexml xp_cmdshell xp_dirtree xp_regread xp_fileexist "
    b"sp_executesql sp_oacreate sp_password openrowset opendatasource openquery utl_http.request "
    b"utl_inaddr.get_host_address utl_inaddr.get_host_name dbms_pipe.receive_message dbms_lock.sleep "
    b"dbms_session.sleep dbms_utility.sqlid_to_sqlhash dbms_xmlgen.getxml dbms_xmlquery.getxml dbms_ldap.init "
    b"ctxsys.drithsx.sn httpuritype pg_read_file pg_ls_dir pg_read_binary_file lo_import lo_export query_to_xml "
    b"database_to_xml table_to_xml make_set elt row_count gtid_subset name_const geometrycollection polygon "
    b"multipoint multilinestring linestring multipolygon load_extension randomblob sys.fn_xe_file_target_read_file "
    b"sys_eval sys_exec regexp_substring crypt_key dump json_keys exp rlike generate_series xmltype zeroblob "
    b"master..xp_cmdshell master..xp_dirtree current_setting".split()
)
"""Functions that wait, read or write outside the tables, or carry data out in an error."""

FUNCTIONS = frozenset(
    b"char chr ascii ord concat concat_ws group_concat string_agg substring substr mid left right length len hex "
    b"unhex if ifnull iif nvl isnull coalesce count cast convert database schema user version rand floor round md5 "
    b"sha1 password encode decode now sqlite_version current_user session_user system_user db_name host_name "
    b"user_name object_id bin instr locate position strcmp lower upper trim ltrim rtrim reverse quote replace "
    b"stuff to_char row_number json_extract json_arrayagg max min sum avg greatest least abs conv compress uuid "
    b"string pi exists ascii unicode nchar quotename is_srvrolemember is_member has_dbaccess suser_name "
    b"serverproperty rownum".split()
)

_SYSTEM = tuple(
    b"information_schema sysobjects syscolumns sysusers sysdatabases systables iitables msysobjects sys.tables "
    b"sys.objects sys.columns sys.databases sys.schemas sys.all_ sys.user sys.sql_ sys.server_ sys.dm_ sys.dba_ "
    b"sys.v_$ sys.x$ mysql. pg_catalog pg_shadow pg_user pg_tables pg_class pg_database pg_authid pg_roles pg_stat "
    b"pg_group sqlite_master sqlite_schema sqlite_temp_master all_tables all_tab_ all_users all_objects "
    b"user_tables user_tab user_objects v$ gv$ master.. master.dbo master.sys dba_ sysibm. syscat. "
    b"performance_schema rdb$ domain.tables domain.columns domain.domains".split()
)

_BLANK = re.compile(rb"[\x00-\x20\xa0]+")
_WORD = re.compile(rb"[A-Za-z_\x80-\xff][\w$\x80-\xff]*(?:\s*\.\.?\s*[A-Za-z_\x80-\xff][\w$\x80-\xff]*|\.\*){0,4}")
_NUMBER = re.compile(rb"0x[0-9a-fA-F]+|0b[01]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE](?:[+-]?[0-9]+|(?=[a-zA-Z(.])))?")
_SIGN = re.compile(rb"<=>|<>|<=|>=|!=|!<|!>|==|=|<<|>>|<|>|&&|\|\||:=|->>|->|::|~\*|[-+/%^&|~!]")
_VARIABLE = re.compile(rb"@@?[\w.$]+|:[a-zA-Z_]\w*|\$[0-9]+|\?|\$\w*\$|@@?(?=[\s`'\"(),;=]|$)")
_BRACKET_NAME = re.compile(rb"\[[^\[\]'\"]{1,64}\]")
_VERSIONED = re.compile(rb"/\*!\d{0,6}")
_LINE_END = re.compile(rb"[\r\n]")
_CALL = re.compile(rb"(?:[\x00-\x20\xa0]|/\*[^*]{0,64}\*/){0,32}\(")
_BY = re.compile(rb"(?:[\x00-\x20\xa0+]|/\*[^*]{0,64}\*/){1,32}by(?![\w$])", re.IGNORECASE)
_COMPARISONS = frozenset((b"=", b"==", b"<", b">", b"<=", b">=", b"<>", b"!=", b"<=>", b"!<", b"!>", b"~*", b":="))
_OTHERS = frozenset(b"(),;*")


def is_system(name: bytes) -> bool:
    """Is it a table or view in which a database tells about itself?"""
    return name.startswith(_SYSTEM) or b"..sys" in name or b"information_schema" in name


def end_of_string(text: bytes, start: int, quote: bytes) -> int:
    """The place behind the quote that ends a string whose content begins at `start`; -1 if it does not end.

    A doubled quote and one behind a backslash belong to the string.
    """
    position = start
    while True:
        end = text.find(quote, position)
        if end < 0:
            return -1
        slash = end
        while slash > start and text[slash - 1] == 0x5C:
            slash -= 1
        if (end - slash) % 2:
            position = end + 1
        elif text[end + 1 : end + 2] == quote:
            position = end + 2
        else:
            return end + 1


def tokens(text: bytes, position: int, reading: Reading) -> Iterator[Token]:
    """At most TOKENS_LIMIT tokens from there; comments that end are blanks, versioned ones are read."""
    size = len(text)
    count = 0
    while position < size:
        if count == TOKENS_LIMIT or not reading.spend(TOKEN_STEPS):
            reading.leave_out()
            return
        count += 1
        byte = text[position]
        start = position
        if byte <= 0x20 or byte == 0xA0:
            blank = _BLANK.match(text, position)
            position = blank.end() if blank else position + 1
        elif byte in b"'\"":
            position = end_of_string(text, start + 1, text[start : start + 1])
            if position < 0:
                yield Token("S", text[start : start + 1], start, size)
                return
            yield Token("s", text[start + 1 : min(position - 1, start + 33)], start, position)
        elif byte == 0x60:
            end = text.find(b"`", start + 1)
            if end < 0:
                yield Token("S", b"`", start, size)
                return
            position = end + 1
            yield Token("w", text[start + 1 : end].lower(), start, position)
        elif (text.startswith(b"--", position) and text[position + 2 : position + 3] != b">") or byte == 0x23:
            line = _LINE_END.search(text, position)
            if line is None:
                yield Token("C", text[start : start + 3], start, size)
                return
            position = line.end()
            if position - start > COMMENT_LINE_BYTES:
                yield Token("#", b"", start, position)
        elif text.startswith(b"/*", position):
            versioned = _VERSIONED.match(text, position)
            if versioned is not None:
                position = versioned.end()
                continue
            end = text.find(b"*/", position + 2)
            if end < 0:
                yield Token("C", b"/*", start, size)
                return
            position = end + 2
        elif text.startswith(b"*/", position):
            position += 2
        elif byte in _OTHERS:
            position += 1
            yield Token(chr(byte), b"", start, position)
        else:
            token = _token(text, position)
            yield token
            position = token.end


def _token(text: bytes, position: int) -> Token:
    match = _NUMBER.match(text, position)
    if match:
        return Token("n", match[0], position, match.end())
    match = _WORD.match(text, position)
    if match:
        return _word(text, match)
    match = _VARIABLE.match(text, position)
    if match:
        return Token("v", match[0].lower(), position, match.end())
    match = _SIGN.match(text, position)
    if match:
        sign = match[0]
        if sign in (b"&&", b"||"):
            kind = "|"
        elif sign == b"!":
            kind = "!"
        else:
            kind = "=" if sign in _COMPARISONS else "a"
        return Token(kind, sign, position, match.end())
    match = _BRACKET_NAME.match(text, position)
    if match:
        return Token("w", match[0], position, match.end())
    return Token("." if text[position] == 0x2E else "?", b"", position, position + 1)


def _word(text: bytes, match: re.Match[bytes]) -> Token:
    word = match[0].lower()
    start, end = match.span()
    following = text[end : end + 1]
    if following in (b"'", b'"') and word in (b"n", b"x", b"b", b"e", b"q", b"nq", b"_utf8", b"_latin1"):
        close = end_of_string(text, end + 1, following)
        if close > 0:
            return Token("s", word, start, close)
    kind = _WORDS.get(word)
    if kind is not None:
        if kind == "q" and word == b"exists" and _CALL.match(text, end):
            return Token("f", word, start, end)
        if word in (b"load", b"replace", b"left", b"right", b"values", b"value", b"truncate") and _CALL.match(
            text, end
        ):
            return Token("f", word, start, end)
        return Token(kind, word, start, end)
    if word in (b"order", b"group"):
        by = _BY.match(text, end)
        if by:
            return Token("B", word + b" by", start, by.end())
    call = _CALL.match(text, end)
    if call:
        if b" " in word or b"\t" in word:
            word = b"".join(word.split())
        return Token("d" if word in DANGEROUS or word.endswith(b".sleep") else "f", word, start, end)
    return Token("w", word, start, end)
