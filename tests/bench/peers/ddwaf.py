"""libddwaf as a peer: a process of .venv-bench that evaluates batches of requests and tells its CPU time.

Reads pickled lists of requests on stdin, each a mapping of libddwaf's addresses to values; writes for each list
one JSON line `{"ns": [...], "matched": N}`. Only the evaluation is timed (context made, evaluated, destroyed),
not the conversion of Python objects, which is ctypes' cost and not the engine's.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from pathlib import Path

import ddtrace.appsec
from ddtrace.appsec._ddwaf import ddwaf_types as ddwaf

RULES = Path(ddtrace.appsec.__file__).parent / "rules.json"

BUDGET_US = 10_000_000
"""Per request; far above any."""

MATCH = 1


def load() -> object:
    """An instance with the recommended rules that the package brings."""
    builder = ddwaf.ddwaf_builder_init()
    rules = ddwaf.ddwaf_object.from_json_bytes(RULES.read_bytes())
    if rules is None or not ddwaf.ddwaf_builder_add_or_update_config(builder, b"r", 1, rules, ddwaf.ddwaf_object()):
        raise ValueError(f"libddwaf does not take {RULES}")
    return ddwaf.ddwaf_builder_build_instance(builder)


def evaluate(instance: object, request: dict[str, object]) -> tuple[int, bool]:
    """(CPU nanoseconds, did a rule match?)."""
    data = ddwaf.ddwaf_object.create_without_limits(request)
    result = ddwaf.ddwaf_object()
    begun = time.thread_time_ns()
    context = ddwaf.ddwaf_context_init(instance, ddwaf.DEFAULT_ALLOCATOR)
    code = ddwaf.ddwaf_context_eval(context, data, ddwaf.DEFAULT_ALLOCATOR, result, BUDGET_US)
    ddwaf.ddwaf_context_destroy(context)
    spent = time.thread_time_ns() - begun
    # A match without events is one of its processors', which only describe the request.
    is_match = code == MATCH and bool((result.struct or {}).get("events"))
    ddwaf.ddwaf_object_destroy(result, ddwaf.DEFAULT_ALLOCATOR)
    return spent, is_match


def main() -> None:
    """Until stdin ends."""
    instance = load()
    print(json.dumps({"rules": len(json.loads(RULES.read_bytes())["rules"])}), flush=True)
    while True:
        try:
            batch = pickle.load(sys.stdin.buffer)  # noqa: S301  # from our own parent
        except EOFError:
            return
        told = [evaluate(instance, request) for request in batch]
        print(json.dumps({"ns": [ns for ns, _ in told], "matched": sum(is_match for _, is_match in told)}), flush=True)


if __name__ == "__main__":
    main()
