"""Step 4, every operator by its SecLang name in lower case, short names included."""

from __future__ import annotations

from extproc.detection import (
    code,
    command,
    graphql,
    header,
    include,
    ldap,
    markup_xml,
    nosql,
    path,
    script,
    serialised,
    sql,
    ssrf,
    template,
    xpath,
)
from extproc.operators.addresses import compile_ip_match, compile_ip_match_from_file
from extproc.operators.comparison import compile_eq, compile_ge, compile_gt, compile_le, compile_lt, compile_ne
from extproc.operators.constant import compile_no_match, compile_unconditional_match, refused, without_effect
from extproc.operators.contract import Compile
from extproc.operators.detect_sqli import compile_detect_sqli
from extproc.operators.detect_xss import compile_detect_xss
from extproc.operators.detectors import detector_operator
from extproc.operators.identity_numbers import (
    compile_verify_cc,
    compile_verify_cpf,
    compile_verify_ssn,
    compile_verify_svnr,
)
from extproc.operators.phrases import compile_pm, compile_pm_from_file
from extproc.operators.rx import compile_rx
from extproc.operators.substring import (
    compile_begins_with,
    compile_contains,
    compile_contains_word,
    compile_ends_with,
    compile_streq,
    compile_strmatch,
    compile_within,
)
from extproc.operators.validation import (
    compile_validate_byte_range,
    compile_validate_url_encoding,
    compile_validate_utf8_encoding,
)

OPERATORS: dict[str, Compile] = {
    "beginswith": compile_begins_with,
    "contains": compile_contains,
    "containsword": compile_contains_word,
    "detectcode": detector_operator("detectCode", code.DETECTOR),
    "detectcommand": detector_operator("detectCommand", command.DETECTOR),
    "detectgraphql": detector_operator("detectGraphQL", graphql.DETECTOR),
    "detectheader": detector_operator("detectHeader", header.DETECTOR),
    "detectinclude": detector_operator("detectInclude", include.DETECTOR),
    "detectldap": detector_operator("detectLDAP", ldap.DETECTOR),
    "detectnosql": detector_operator("detectNoSQL", nosql.DETECTOR),
    "detectpath": detector_operator("detectPath", path.DETECTOR),
    "detectscript": detector_operator("detectScript", script.DETECTOR),
    "detectserialised": detector_operator("detectSerialised", serialised.DETECTOR),
    "detectsql": detector_operator("detectSQL", sql.DETECTOR),
    "detectsqli": compile_detect_sqli,
    "detectssrf": detector_operator("detectSSRF", ssrf.DETECTOR),
    "detecttemplate": detector_operator("detectTemplate", template.DETECTOR),
    "detectxml": detector_operator("detectXML", markup_xml.DETECTOR),
    "detectxpath": detector_operator("detectXPath", xpath.DETECTOR),
    "detectxss": compile_detect_xss,
    "endswith": compile_ends_with,
    "eq": compile_eq,
    "fuzzyhash": refused("fuzzyHash", "it needs ssdeep, which is GPL; remove the rule"),
    "ge": compile_ge,
    "geolookup": without_effect("geoLookup", "no location data is shipped; let Envoy or the app decide by country"),
    "gsblookup": without_effect("gsbLookup", "no Safe Browsing data is shipped; ModSecurity 3 has none either"),
    "gt": compile_gt,
    "inspectfile": refused("inspectFile", "a rule may not start programs; scan uploads in the app"),
    "ipmatch": compile_ip_match,
    "ipmatchf": compile_ip_match_from_file,
    "ipmatchfromfile": compile_ip_match_from_file,
    "le": compile_le,
    "lt": compile_lt,
    "ne": compile_ne,
    "nomatch": compile_no_match,
    "pm": compile_pm,
    "pmf": compile_pm_from_file,
    "pmfromfile": compile_pm_from_file,
    "rbl": without_effect("rbl", "a request does not wait for a DNS list; block by @ipMatchFromFile"),
    "rsub": refused("rsub", "bodies are judged, never rewritten; remove the rule"),
    "rx": compile_rx,
    "streq": compile_streq,
    "strmatch": compile_strmatch,
    "unconditionalmatch": compile_unconditional_match,
    "validatebyterange": compile_validate_byte_range,
    "validatedtd": refused("validateDTD", "a DTD makes the parser read files and expand entities; validate in the app"),
    "validatehash": refused("validateHash", "links are never signed, so no hash could match; remove the rule"),
    "validateschema": refused("validateSchema", "XML Schema costs unbounded time; validate in the app"),
    "validateurlencoding": compile_validate_url_encoding,
    "validateutf8encoding": compile_validate_utf8_encoding,
    "verifycc": compile_verify_cc,
    "verifycpf": compile_verify_cpf,
    "verifyssn": compile_verify_ssn,
    "verifysvnr": compile_verify_svnr,
    "within": compile_within,
}
