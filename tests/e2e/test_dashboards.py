"""Alert rules and dashboard ask for what a running server shows; each alert is explained."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.store.jobs import JobState
from tests.docs.tables import collected_metrics
from tests.e2e.processes import ROOT

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
OF_PROMETHEUS = {"up"}
ENDS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
ADDED = {"instance", "job", "le"}
"""Labels that Prometheus adds, and that of a histogram's buckets."""


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    text = (DEPLOY / "grafana" / "trunkline.json").read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text)
    return read


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts())
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")


def selectors(expression: str) -> list[Any]:
    """Whatever an expression, which must be one, reads."""
    found: list[Any] = []

    def visit(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expression), visit)
    assert found, expression
    return found


@pytest.fixture(scope="module")
def shown(http: httpx.Client) -> set[str]:
    """Names of the series that the server shows, or may show once there is something to count."""
    families = text_string_to_metric_families(http.get("/metrics").text)
    return {
        family.name + end
        for family in families
        if family.name.startswith("trunkline_")
        for end in ENDS[family.type]
        if not family.name.endswith("_created")
    }


def test_rules_and_dashboard_ask_for_what_a_server_shows(shown: set[str]) -> None:
    asked = {each.name for text in expressions() for each in selectors(text)}
    assert asked - shown == OF_PROMETHEUS


def test_every_metric_is_on_the_dashboard(shown: set[str]) -> None:
    read = json.dumps(dashboard())
    families = {re.sub("_(total|bucket|sum|count)$", "", name) for name in shown}
    assert len(families) > 30
    assert {name for name in families if name not in read} == set()


def test_rules_and_dashboard_know_the_labels_and_their_values() -> None:
    labels = {name: known.split(", ") for name, _, known, _ in collected_metrics()}
    values: dict[str, set[str]] = {"state": {*JobState}, "reason": {"rate", "store", "file"}}
    for text in expressions():
        for each in selectors(text):
            if each.name in OF_PROMETHEUS:
                continue
            name = re.sub("_(bucket|sum|count)$", "", each.name)
            for matcher in each.matchers.matchers:
                assert matcher.name in {*labels[name], *ADDED}, text
                if matcher.name in values:
                    assert matcher.value in values[matcher.name], text


def test_every_alert_says_what_to_do_at_three_in_the_morning() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    explained = re.findall(r"^### (Trunkline\w+)$", page, re.MULTILINE)
    assert explained == [rule["alert"] for rule in alerts()]
    for rule in alerts():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "what", [("check", "rules", "rules.yaml"), ("test", "rules", "rules_test.yaml")]
)
def test_promtool_finds_nothing_wrong(what: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *what], cwd=RULES.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
