"""Our engine beside libmodsecurity on the Core Rule Set: the same rules and verdicts, or a known difference.

A sample of the corpus at every paranoia level and in every place of a request; all of it: `full_run.py`.
"""

from __future__ import annotations

import pytest
from oracle_differences import DIFFERENCES, Case, Finding, compare
from oracle_engines import Ours, Theirs, load_crs
from oracle_material import CORPUS, CRS, PLACES, corpus

from extproc.engine.ruleset import Ruleset

SHARE = 0.01
"""Of the corpus, per level and place: about 210 values."""

pytestmark = [
    pytest.mark.crs,
    pytest.mark.slow,
    pytest.mark.skipif(not (CRS / "rules").is_dir(), reason="no Core Rule Set at CRS_DIR or ../shared/crs"),
    pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus at CORPUS_DIR or ../shared/corpus"),
]


@pytest.fixture(scope="module", params=[1, 2, 3, 4], ids="PL{}".format)
def engines(request: pytest.FixtureRequest) -> tuple[Ruleset, Ours, Theirs]:
    ruleset = load_crs(request.param)
    return ruleset, Ours(ruleset), Theirs(request.param)


@pytest.mark.parametrize("place", PLACES)
def test_rules_and_verdicts_agree(engines: tuple[Ruleset, Ours, Theirs], place: str) -> None:
    ruleset, ours, theirs = engines
    unexplained: list[Finding] = []
    told = different = 0
    for value in corpus(SHARE, salt=place):
        sent = PLACES[place](value.text)
        our, their = ours.tell(sent), theirs.tell(sent)
        findings = list(compare(ruleset, place, value.text, our, their))
        unexplained += [finding for finding in findings if finding.difference is None]
        told += len(our.ids)
        different += our.is_blocked != their.is_blocked and not findings
    assert not unexplained, "\n".join(map(str, unexplained[:20]))
    # A verdict differs only where a rule does.
    assert different == 0
    # Rules did match, or nothing would be shown.
    assert told > 20


def test_a_difference_explains_its_own_kind_only(engines: tuple[Ruleset, Ours, Theirs]) -> None:
    """A list that explains everything would hide every bug."""
    ruleset, _, _ = engines
    ordinary = ruleset.by_id[941110]  # a pattern over arguments, cookies and headers
    for place in PLACES:
        for is_ours in (True, False):
            case = Case(place, b"<script>", ordinary, is_ours)
            assert [one.name for one in DIFFERENCES if one.covers(case)] == []
