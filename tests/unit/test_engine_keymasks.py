"""Masks of rules by key say what `Target.covers` says of each target."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from extproc.engine.keymasks import masks_of
from extproc.engine.ruleset import Rule
from extproc.seclang.assemble import Sources, load_ruleset

TARGETS = ["ARGS", "ARGS:a", "ARGS:b", "ARGS:/^a/", "ARGS:/B$/", "ARGS_NAMES", "REQUEST_URI", "ARGS:/./"]
EXCLUSIONS = ["!ARGS:a", "!ARGS:/b/", "!ARGS:/^$/", "!ARGS_NAMES:a", "!ARGS"]
KEYS = [None, b"", b"a", b"b", b"ab", b"ba", b"c", b"a\xff"]

_RULES = st.lists(
    st.tuples(
        st.lists(st.sampled_from(TARGETS), min_size=1, max_size=3),
        st.lists(st.sampled_from(EXCLUSIONS), max_size=2),
    ),
    min_size=1,
    max_size=6,
)


def looks_at(rule: Rule, key: bytes | None) -> bool:
    """By the definition."""

    def covers(targets: tuple) -> bool:
        return any(target.collection == "ARGS" and target.covers(key) for target in targets)

    return covers(rule.targets) and not covers(rule.exclusions)


@given(_RULES)
def test_masks_are_the_targets(rules: list[tuple[list[str], list[str]]]) -> None:
    text = "".join(
        f'SecRule {"|".join([*wanted, *excluded])} "@rx x" "id:{number},phase:2,pass"\n'
        for number, (wanted, excluded) in enumerate(rules, 1)
    )
    compiled = list(load_ruleset(Sources((), preamble=text.encode())).by_id.values())
    wanted, excluded = masks_of("ARGS", compiled)
    for key in KEYS:
        expected = sum(1 << rule.index for rule in compiled if looks_at(rule, key))
        assert wanted.of(key) & ~excluded.of(key) == expected, key
