"""`extproc test`: go-ftw tests against rules, in process, for rule authors without a server."""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from extproc.cli.wiring import rule_file
from extproc.engine.inspector import EngineInspector, EngineSettings
from extproc.engine.plan import Plan
from extproc.engine.ruleset import BodySettings
from extproc.model.errors import ConfigError
from extproc.model.verdict import Mode
from extproc.replay.ftw import read_cases
from extproc.replay.run import Result, run_cases
from extproc.seclang.assemble import Sources, crs_files, load_ruleset

OWN_RULES = Path(__file__).parent.parent / "rules" / "own.conf"

CRS_TEST_SETTINGS = """
SecRuleEngine DetectionOnly
SecRequestBodyAccess On
SecResponseBodyAccess On
SecAction "id:7000000,phase:1,pass,nolog,t:none,\
setvar:tx.blocking_paranoia_level={paranoia},setvar:tx.detection_paranoia_level={paranoia},\
setvar:tx.arg_name_length=100,setvar:tx.arg_length=400,setvar:tx.total_arg_length=6400,setvar:tx.max_file_size=64100,\
setvar:tx.combined_file_sizes=65535,setvar:tx.crs_validate_utf8_encoding=1"
"""
"""What the Core Rule Set's own test setup configures (its tests/README and docker images)."""

DEFAULT_PARANOIA = 4


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of the command."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR|FILE", help="go-ftw YAML tests")
    parser.add_argument("--rules", action="append", default=[], metavar="FILE|NAME", help="rules to test")
    parser.add_argument("--crs", type=Path, metavar="DIR", help="a Core Rule Set checkout, with its test settings")
    parser.add_argument("--paranoia", type=int, default=DEFAULT_PARANOIA, choices=(1, 2, 3, 4), help="default 4")
    parser.add_argument("--set-aside", type=Path, metavar="FILE", help="titles not to judge: `TITLE reason` a line")
    parser.add_argument("--verbose", action="store_true", help="a table per rule file")


def run(arguments: argparse.Namespace) -> int:
    """0: all passed; 1: some failed; 2: wrong input."""
    cases = list(read_cases(arguments.paths))
    if not cases:
        raise ConfigError("extproc test", "no tests found in " + ", ".join(map(str, arguments.paths)))
    plan = Plan(
        load_ruleset(_sources(arguments), BodySettings(is_response_read=True, is_type_guessed=arguments.crs is None))
    )
    mode = Mode.MONITOR if arguments.crs else Mode.BLOCK
    settings = EngineSettings(mode=mode, inspect_response=True)
    results = run_cases(cases, lambda publish: EngineInspector(plan, settings, publish))
    aside = _read_set_aside(arguments.set_aside) if arguments.set_aside else {}
    results = [
        Result(result.case, set_aside=aside[result.case.title])
        if result.failures and result.case.title in aside
        else result
        for result in results
    ]
    if arguments.verbose:
        print(table(results))
    for result in results:
        if result.set_aside:
            print(f"SKIPPED {result.case.title}: {result.set_aside}")
    failed = [result for result in results if result.failures]
    for result in failed:
        print(f"FAILED {result.case.title}: {'; '.join(result.failures)}")
    skipped = sum(1 for result in results if result.set_aside)
    print(f"{len(results) - len(failed) - skipped} passed, {len(failed)} failed, {skipped} skipped")
    return 1 if failed else 0


def table(results: list[Result]) -> str:
    """Positives (rules that must match) and negatives apart, per rule file."""
    rows: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0, 0])
    for result in results:
        row = rows[Path(result.case.file).parent.name]
        if result.set_aside:
            row[4] += 1
            continue
        is_positive = any(stage.expect_ids or stage.match_regex for stage in result.case.stages)
        row[0 if is_positive else 2] += not result.failures
        row[1 if is_positive else 3] += 1
    lines = [f"{'rule file':<45} {'positives':>12} {'negatives':>12} {'set aside':>9}"]
    for name, (hit, positives, quiet, negatives, skipped) in sorted(rows.items()):
        lines.append(f"{name:<45} {f'{hit}/{positives}':>12} {f'{quiet}/{negatives}':>12} {skipped:>9}")
    return "\n".join(lines)


def _sources(arguments: argparse.Namespace) -> Sources:
    files = tuple(rule_file(name, "--rules") for name in arguments.rules)
    if arguments.crs is None:
        return Sources(files or (OWN_RULES,))
    try:
        crs = crs_files(arguments.crs)
    except FileNotFoundError as error:
        raise ConfigError("--crs", str(error)) from error
    return Sources((*crs, *files), preamble=CRS_TEST_SETTINGS.format(paranoia=arguments.paranoia).encode())


def _read_set_aside(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError("--set-aside", f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError("--set-aside", f"{path} is not UTF-8 text") from error
    found: dict[str, str] = {}
    for line in lines:
        title, _, reason = line.strip().partition(" ")
        if title and not title.startswith("#"):
            if not reason.strip():
                raise ConfigError("--set-aside", f"{path}: {title} has no reason behind it")
            found[title] = reason.strip()
    return found
