"""Alerts and dashboard ask only for metrics and labels that a pair really has."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from manifests import REPO, documents, kustomize

from extproc.telemetry.counters import Counters
from extproc.telemetry.families import COUNTER, HISTOGRAM, Facts, metrics

FOLDER = REPO / "k8s" / "monitoring"
FROM_SCRAPE = {"pod", "le"}
"""Labels that Prometheus adds, or a histogram has."""

NAME = re.compile(r"\bextproc_\w+")


def shown() -> dict[str, set[str]]:
    """Sample names as Prometheus has them → their labels."""
    found: dict[str, set[str]] = {}
    for metric in metrics(Counters().snapshot(), Facts("1", "x", "block", 0.0, 1)):
        suffixes = {COUNTER: ("_total",), HISTOGRAM: ("_bucket", "_sum", "_count")}.get(metric.kind, ("",))
        for suffix in suffixes:
            found[metric.name + suffix] = set(metric.labels) | FROM_SCRAPE
    return found


def expressions() -> list[str]:
    (rule,) = documents((FOLDER / "alerts.yaml").read_text())
    alerts = [one["expr"] for group in rule["spec"]["groups"] for one in group["rules"]]
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    return [*alerts, *(target["expr"] for panel in panels for target in panel["targets"])]


@pytest.mark.parametrize("expression", expressions())
def test_expressions_name_what_exists(expression: str) -> None:
    known = shown()
    names = NAME.findall(expression)
    assert names
    assert set(names) <= set(known)
    allowed = set.union(*(known[name] for name in names))
    grouped = [label.strip() for found in re.findall(r"by \(([\w, ]+)\)", expression) for label in found.split(",")]
    matched = [
        label for found in re.findall(r"\{([^}]*)\}", expression) for label in re.findall(r"(\w+)\s*[=!]", found)
    ]
    assert set(grouped) | set(matched) <= allowed


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    used = {name for expression in expressions() for name in NAME.findall(expression)}
    unused = {name for name in shown() if name not in used}
    assert unused == {
        "extproc_inspection_seconds_sum",
        "extproc_inspection_seconds_count",
        "extproc_start_time_seconds",
    }


def test_the_dashboard_is_shipped_as_grafana_finds_it() -> None:
    (config_map,) = [tree for tree in documents(kustomize(FOLDER)) if tree["kind"] == "ConfigMap"]
    assert config_map["metadata"]["labels"] == {"grafana_dashboard": "1"}
    dashboard = json.loads(config_map["data"]["extproc.json"])
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_alerts_say_how_bad_and_what() -> None:
    (rule,) = yaml.safe_load_all((FOLDER / "alerts.yaml").read_text())
    for group in rule["spec"]["groups"]:
        for one in group["rules"]:
            assert one["labels"]["severity"] in ("warning", "critical")
            assert one["annotations"]["summary"]
