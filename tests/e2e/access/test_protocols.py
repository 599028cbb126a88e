"""What holds for every call holds for those of other protocols: quotas, metrics, the audit log."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.access.asking import Answer, shown
from tests.e2e.access.conftest import Site
from tests.e2e.access.routes import GRPC_OIP, METHODS, PROTOCOLS, TASKS, Needs, Route
from tests.e2e.conftest import TEXTS
from tests.e2e.metrics import samples
from trunkline.values.tenants import Quotas

QUESTION = next(route for route in METHODS if route.asked == GRPC_OIP + "ModelInfer")
ASKING = [*(route for route in PROTOCOLS if route.given), QUESTION]
"""What embeds or classifies, of each protocol."""


def rpc_of(route: Route) -> str:
    """The RPC that answers."""
    return "Embed" if "backbones" in route.asked or "/v1/" in route.asked else "Predict"


@pytest.fixture(scope="module")
def poor(site: Site) -> Iterator[str]:
    """The key of a tenant with a head "shown" that may use next to nothing."""
    with site.client(site.operator) as client:
        weights = client.export_head("acme/shown").safetensors
        client.import_head("poor/shown", weights, TEXTS)
        client.update_tenant("poor", Quotas(cost_per_second=0.001, cost_burst=0.1))
        # The bucket is full: that is let in, and owed for.
        client.predict("poor/shown", [f"text {number} of many" for number in range(100)])
        yield client.create_key("poor", ["predict"]).text
        client.delete_tenant("poor")


def of_poor(route: Route) -> Route:
    return Route(
        route.asked.replace("acme/shown", "poor/shown"),
        Needs.A_KEY,
        given={**route.given, "message": route.given.get("message", b"").replace(b"acme", b"poor")},
    )


def ask(site: Site, route: Route, key: str) -> Answer:
    given = {name: value for name, value in route.given.items() if value}
    return site.asking.route(Route(route.asked, route.needs, given=given), key)


@pytest.mark.parametrize("route", ASKING, ids=str)
def test_quota_of_the_tenant_holds_and_says_when_to_come_again(
    site: Site, poor: str, route: Route
) -> None:
    refused = ask(site, of_poor(route), poor)
    assert refused.code == "RESOURCE_EXHAUSTED", refused
    assert "cost_per_second" in refused.shown
    hint = "retryDelay" if route is QUESTION else "retry-after"
    assert hint in refused.shown
    assert ("retry-after-ms" in refused.shown) == ("/v1/" in route.asked)


@pytest.mark.parametrize("route", ASKING, ids=str)
def test_requests_are_counted_by_the_rpc_that_answers(site: Site, route: Route) -> None:
    with httpx.Client(
        base_url=site.running.rest, headers={"authorization": f"Bearer {site.watcher}"}
    ) as watcher:
        labels = {"method": rpc_of(route), "code": "OK", "tenant": "acme"}
        before = samples(watcher, "trunkline_requests_total", **labels)
        assert ask(site, route, site.full).code == "OK"
        assert samples(watcher, "trunkline_requests_total", **labels) == before + 1


@pytest.mark.parametrize("route", ASKING, ids=str)
def test_refusal_is_in_the_audit_log_under_the_rpc_that_answers(site: Site, route: Route) -> None:
    with site.client(site.operator) as client:
        made = client.create_key("acme", ["label"])
        assert ask(site, route, made.text).code == "PERMISSION_DENIED"
        client.revoke_key(made.key.name)  # which is stored after the refusal
        noted = client.audit("acme", key=made.key.name)
        (entry,) = [one for one in noted if one.outcome == "PERMISSION_DENIED"]
    assert entry.method.split("/")[-1] == rpc_of(route)
    assert entry.transport == ("grpc" if route is QUESTION else "rest")


def test_label_studio_shows_its_key_as_a_password_and_nobody_else_does(site: Site) -> None:
    def told(path: str, key: str) -> Answer:
        pair = base64.b64encode(f"whoever:{key}".encode()).decode()
        headers = (("authorization", f"Basic {pair}"),)
        return site.asking.over_rest("GET", path, {}, headers)

    health = "/label-studio/acme/shown/health"
    assert told(health, site.roles["predict"]).code == "OK"
    assert told(health, site.foreign).code == "NOT_FOUND"
    for bad in ("", "nonsense", str(site.bad["revoked"])):
        assert told(health, bad).code == "UNAUTHENTICATED"
    assert told("/v1/whoami", site.full).code == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("action", "role"), [("ANNOTATION_CREATED", "feedback"), ("START_TRAINING", "train")]
)
def test_events_of_label_studio_need_the_role_of_what_they_do(
    site: Site, action: str, role: str
) -> None:
    said = {"from_name": "c", "value": {"choices": ["a"]}}
    event = {
        "action": action,
        "project": {"label_config": TASKS["json"]["label_config"]},
        "annotation": {"id": 1, "result": [said]},
        "task": TASKS["json"]["tasks"][0],
    }
    for key, code in ((site.roles["predict"], "PERMISSION_DENIED"), (site.roles[role], "OK")):
        path = "/label-studio/acme/other/webhook"
        answer = site.asking.over_rest("POST", path, event, shown(key))
        wanted = "FAILED_PRECONDITION" if code == "OK" and role == "train" else code
        assert answer.code == wanted, answer
