"""Every RPC and every route: who gets through, what others are told, and that nothing changes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.e2e.access.asking import TRANSPORTS, Answer, shown
from tests.e2e.access.conftest import Site
from tests.e2e.access.routes import (
    INFER,
    METHODS,
    NO_ROUTES,
    PLAIN,
    PROTOCOLS,
    ROUTES,
    TASKS,
    WHO_AM_I,
    Needs,
    Route,
)
from tests.e2e.access.rpcs import (
    ANYBODY,
    DIGEST,
    OF_ANY_TENANT,
    OF_HEADS,
    OF_KEYS,
    OF_ONE_TENANT,
    OF_TENANTS,
    OPERATE,
    RPCS,
    WITH_ROLES,
    Rpc,
)
from tests.e2e.conftest import TEXTS
from trunkline import NotFound

MISSING_KEY = "0" * 32
LISTED = {"ListHeads": "heads", "GetUsage": "usage", "ListKeys": "keys", "ListAudit": "entries"}


@pytest.fixture
def _unchanged(site: Site) -> Iterator[None]:
    """Fails a test after which the store is not as it was."""
    before = site.rows()
    yield
    assert site.rows() == before


def ids(site: Site, tenant: str = "acme", head: str = "shown", key: str = "") -> dict[str, str]:
    return {"tenant": tenant, "head": head, "key": key or site.key_ids.get(tenant, MISSING_KEY)}


def name(rpc: Rpc, of: dict[str, str]) -> str:
    """The name by which an error tells of what is not there: that of the head, if it is one's."""
    return "/".join(rpc.name.format(**of).split("/")[:4])


# --- who shows no good key


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("rpc", RPCS, ids=str)
def test_without_a_good_key_nothing_is_told(site: Site, rpc: Rpc) -> None:
    there, away = ids(site), ids(site, "none", "lacks", MISSING_KEY)
    told = [site.asking.both(rpc, key, there) for key in site.bad.values()]
    told += [site.asking.both(rpc, site.bad[why], away) for why in ("none", "revoked")]
    for answers in zip(*told, strict=True):
        assert {answer.code for answer in answers} == {"UNAUTHENTICATED"}
        assert len({answer.shown for answer in answers}) == 1, answers
    others = list(site.asking.whatever(rpc, there, site.operator, site.bad))
    assert {answer.shown for answer in others} == {told[0][0].shown, told[0][1].shown}


def test_key_is_taken_as_either_header(site: Site) -> None:
    for headers in ((("x-api-key", site.full),), shown(site.full)):
        assert site.asking.over_grpc("KeyService/WhoAmI", [{}], headers).code == "OK"
        assert site.asking.over_rest("GET", "/v1/whoami", {}, headers).code == "OK"


# --- who may not see what is asked for


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("rpc", OF_HEADS, ids=str)
def test_head_that_is_not_the_callers_is_one_that_does_not_exist(site: Site, rpc: Rpc) -> None:
    missing = ids(site, head="lacks")
    wanted = [
        answer.without(name(rpc, missing)) for answer in site.asking.both(rpc, site.full, missing)
    ]
    asked = [
        (site.full, ids(site, "beta")),
        (site.full, ids(site, "beta", "lacks")),
        (site.full, ids(site, "none")),
        (site.foreign, ids(site, "acme")),
        (site.roles["predict"], ids(site, "beta")),
        (site.narrowed, ids(site, head="shown")),
        (site.narrowed, ids(site, head="lacks")),
        (site.narrowed, ids(site, "beta", "other")),
    ]
    for key, of in asked:
        answers = site.asking.both(rpc, key, of)
        assert [answer.code for answer in answers] == ["NOT_FOUND"] * 2
        assert [answer.without(name(rpc, of)) for answer in answers] == wanted


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("rpc", OF_TENANTS, ids=str)
def test_tenant_that_is_not_the_callers_does_not_exist(site: Site, rpc: Rpc) -> None:
    told = [
        [answer.without(f"tenants/{tenant}") for answer in site.asking.both(rpc, key, of)]
        for tenant in ("beta", "none")
        for key in (site.full, site.narrowed, site.roles["label"])
        for of in [ids(site, tenant)]
    ]
    assert all(answers == told[0] for answers in told)
    assert "NOT_FOUND" in told[0][1]


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("rpc", OF_KEYS, ids=str)
def test_key_of_another_tenant_or_an_operators_is_one_that_does_not_exist(
    site: Site, rpc: Rpc
) -> None:
    with site.client(site.operator) as client:
        me = client.who_am_i().key
    assert me is not None
    others = [site.key_ids["beta"], me.name.removeprefix("keys/"), MISSING_KEY]
    told = [
        [answer.without(f"keys/{key}") for answer in answers]
        for key in others
        for answers in [site.asking.both(rpc, site.full, ids(site, key=key))]
    ]
    assert all(answers == told[0] for answers in told)
    assert "NOT_FOUND" in told[0][1]


# --- who may see it, and not do that


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("rpc", WITH_ROLES, ids=str)
def test_role_that_is_missing_is_named_whatever_there_is(site: Site, rpc: Rpc) -> None:
    keys = {role: site.roles[role] for role in ANYBODY if role not in rpc.roles}
    if rpc.roles == (OPERATE,):
        keys["all"] = site.full
    for key in keys.values():
        there = site.asking.both(rpc, key, ids(site))
        away = site.asking.both(rpc, key, ids(site, head="lacks", key=MISSING_KEY))
        assert there == away
        assert [answer.code for answer in there] == ["PERMISSION_DENIED"] * 2
        for answer in there:
            assert f"authorization: the key needs the role {' or '.join(rpc.roles)}" in answer.shown


# --- other routes


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("route", [*ROUTES, *NO_ROUTES, *METHODS], ids=str)
def test_route_takes_what_its_row_says(site: Site, route: Route) -> None:
    like = replace(route, asked=route.like) if route.like else WHO_AM_I[route in METHODS]
    refused = site.asking.route(like, None)
    for key in site.bad.values():
        answer = site.asking.route(route, key)
        if route.needs is Needs.NOTHING:
            assert answer.code == route.code
        else:
            assert answer.shown == refused.shown
            assert answer.code == "UNAUTHENTICATED"
    assert site.asking.route(route, site.operator).code == route.code
    code = "PERMISSION_DENIED" if route.needs is Needs.METRICS else route.code
    assert site.asking.route(route, site.full).code == code


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("route", [one for one in ROUTES if one.given or "metrics" in one.asked])
def test_key_for_metrics_reads_these_alone(site: Site, route: Route) -> None:
    code = route.code if route.needs is Needs.METRICS else "PERMISSION_DENIED"
    assert site.asking.route(route, site.watcher).code == code


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("rpc", RPCS, ids=str)
def test_key_for_metrics_is_good_for_no_rpc(site: Site, rpc: Rpc) -> None:
    there = site.asking.both(rpc, site.watcher, ids(site))
    assert there == site.asking.both(rpc, site.watcher, ids(site, head="lacks", key=MISSING_KEY))
    assert [answer.code for answer in there] == ["PERMISSION_DENIED"] * 2


@pytest.mark.parametrize("path", ["/v1/whoami", "/v1/keys", "/metrics", "/schema.json", "/none"])
def test_head_is_refused_as_get_is(site: Site, path: str) -> None:
    assert site.asking.http.head(path).status_code == 401


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize(("path", "field"), [("/predict", "head"), ("/embed", "tenant")])
def test_short_routes_ask_for_what_their_twins_do(site: Site, path: str, field: str) -> None:
    def told(key: str, tenant: str, head: str = "shown") -> Answer:
        value = f"{tenant}/{head}" if field == "head" else tenant
        body = {field: value, "inputs": [{"text": "good"}]}
        return site.asking.over_rest("POST", path, body, shown(key))

    predict = site.roles["predict"]
    assert told(predict, "acme").code == "OK"
    assert told(site.roles["label"], "acme") == told(site.roles["label"], "acme", "lacks")
    assert told(site.roles["label"], "acme").code == "PERMISSION_DENIED"
    away = [told(predict, "beta"), told(predict, "none"), told(site.narrowed, "beta")]
    if field == "head":
        away += [told(predict, "acme", "lacks"), told(site.narrowed, "acme")]
    assert {answer.code for answer in away} == {"NOT_FOUND"}
    names = [f"tenants/{t}/heads/{h}" for t in ("acme", "beta", "none") for h in ("shown", "lacks")]
    assert len({answer.without(*names, "tenants/beta", "tenants/none") for answer in away}) == 1


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize(
    "form",
    [
        *("POST /v2/models/{}/infer", "POST /hf/{}", "GET /v2/models/{}"),
        *("GET /label-studio/{}/health", "POST /label-studio/{}/predict"),
    ],
)
def test_model_of_another_protocol_that_the_caller_may_not_see_does_not_exist(
    site: Site, form: str
) -> None:
    given = INFER if "v2" in form else PLAIN if "hf" in form else TASKS

    def told(key: str, head: str) -> str:
        route = Route(form.format(head), Needs.A_KEY, given=given if "POST" in form else {})
        answer = site.asking.route(route, key)
        assert answer.code == "NOT_FOUND"
        tenant, _, name = head.partition("/")
        return answer.without(f"tenants/{tenant}/heads/{name}")

    missing = told(site.full, "acme/lacks")
    assert told(site.full, "beta/shown") == told(site.full, "none/shown") == missing
    assert told(site.narrowed, "acme/shown") == missing


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("route", [one for one in PROTOCOLS if one.given], ids=str)
def test_protocols_ask_for_the_role_of_their_rpc(site: Site, route: Route) -> None:
    assert site.asking.route(route, site.roles["predict"]).code == "OK"
    assert site.asking.route(route, site.roles["label"]).code == "PERMISSION_DENIED"


# --- lists, rows and streams


ACMES, BETAS = "tenants/acme", "tenants/beta"
BOTH = {ACMES, BETAS}
OF_ACME = {f"{ACMES}/heads/{head}" for head in ("shown", "empty", "other")}
LISTS = {rpc.method.split("/")[1]: rpc for rpc in RPCS if rpc.method.split("/")[1] in LISTED}


@pytest.mark.parametrize("over", TRANSPORTS)
def test_list_of_heads_of_all_tenants_has_those_that_the_caller_may_see(
    site: Site, over: str
) -> None:
    def names(key: str) -> set[str]:
        return {head["name"] for head in listed(site, "ListHeads", key, over, "tenants/-")}

    assert names(site.narrowed) == {f"{ACMES}/heads/other"}
    for key in (site.full, site.roles["predict"]):
        assert names(key) >= OF_ACME
        assert f"{BETAS}/heads/shown" not in names(key)
    assert names(site.operator) >= OF_ACME | {f"{BETAS}/heads/shown"}
    for parent in (ACMES, "tenants/-"):
        one = replace(LISTS["ListHeads"], name=parent, more={"page_size": 1})
        page = site.asking.listed(one, site.narrowed, over)
        assert [head["name"] for head in page["heads"]] == [f"{ACMES}/heads/other"]
        assert not page.get("nextPageToken")


@pytest.mark.parametrize("over", TRANSPORTS)
def test_lists_of_a_tenants_owner_have_what_is_the_tenants(site: Site, over: str) -> None:
    with site.client(site.foreign) as client, pytest.raises(NotFound):
        client.delete_head("acme/shown")
    for name, parent in (("GetUsage", "tenants/-"), ("ListKeys", ""), ("ListAudit", "")):
        for key, tenant in ((site.full, ACMES), (site.foreign, BETAS)):
            rows = listed(site, name, key, over, parent)
            assert {row.get("tenant") for row in rows} == {tenant}
        rows = listed(site, name, site.operator, over, parent)
        assert {row.get("tenant") for row in rows} >= BOTH


def listed(site: Site, method: str, key: str, over: str, parent: str) -> list[dict[str, Any]]:
    rpc = replace(LISTS[method], name=parent, more={"page_size": 1000})
    rows: list[dict[str, Any]] = site.asking.listed(rpc, key, over)[LISTED[method]]
    return rows


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("rpc", OF_ONE_TENANT, ids=str)
def test_all_tenants_are_none_for_what_takes_one(site: Site, rpc: Rpc) -> None:
    for key in (site.operator, site.full):
        for answer in site.asking.both(rpc, key, ids(site, "-")):
            denied = key == site.full and rpc.roles == (OPERATE,)
            assert answer.code == ("PERMISSION_DENIED" if denied else "INVALID_ARGUMENT")


@pytest.mark.usefixtures("_unchanged")
def test_rows_head_that_the_caller_may_not_see_is_told_as_a_missing_one(site: Site) -> None:
    def errors(key: str, head: str, other: str) -> list[str]:
        asked = {"heads": [f"tenants/{other}"], "inputs": [{"text": "good"}]}
        mine = f"tenants/acme/heads/{head}"
        answer = site.asking.over_grpc(
            "PredictionService/Predict", [{"head": mine, **asked}], shown(key)
        )
        rest = site.asking.over_rest("POST", f"/v1/{mine}:predict", asked, shown(key))
        told = [answer.reply.errors, rest.reply.json()["predictions"][0]["error"]]
        return [str(error).replace(f"tenants/{other}", "NAME") for error in told]

    missing = errors(site.full, "shown", "acme/heads/lacks")
    assert "NOT_FOUND" in missing[0]
    assert errors(site.narrowed, "other", "acme/heads/lacks") == missing
    assert errors(site.narrowed, "other", "acme/heads/shown") == missing
    foreign = ["beta/heads/shown", "beta/heads/lacks", "none/heads/shown"]
    told = [errors(key, "other", name) for name in foreign for key in (site.full, site.narrowed)]
    assert all(each == told[0] for each in told)


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("method", ["HeadService/AddExamples", "AdviceService/Advise"])
def test_stream_without_a_message_needs_the_role_too(site: Site, method: str) -> None:
    assert site.asking.over_grpc(method, [], shown(site.roles["predict"])).code == (
        "PERMISSION_DENIED"
    )
    assert site.asking.over_grpc(method, [], shown(site.roles["train"])).code == "INVALID_ARGUMENT"


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("away", ["tenants/beta", "tenants/none"])
@pytest.mark.parametrize(
    ("method", "field", "head"),
    [("HeadService/AddExamples", "head", "/heads/empty"), ("AdviceService/Advise", "parent", "")],
)
def test_later_message_of_a_stream_reaches_no_other_tenant(
    site: Site, method: str, field: str, head: str, away: str
) -> None:
    row = {"examples": [{"input": {"text": "sent"}, "label": "a"}]}
    nothing = {"examples": [{"input": {"digest": DIGEST}, "label": "a"}]}  # fails by itself
    for first in ("tenants/acme" + head, away + head):
        messages = [{field: first, **nothing}, {field: away + head, **row}]
        answer = site.asking.over_grpc(method, messages, shown(site.full))
        assert answer.code == "NOT_FOUND"
        assert away in answer.shown


@pytest.mark.usefixtures("_unchanged")
@pytest.mark.parametrize("head", ["shown", "lacks"])
def test_narrowed_key_makes_no_head_that_it_could_not_see(site: Site, head: str) -> None:
    for row in (rpc for rpc in OF_TENANTS if "head_id" in rpc.more):
        asked = replace(row, more={**row.more, "head_id": head})
        for answer in site.asking.both(asked, site.narrowed, ids(site)):
            assert answer.code == "NOT_FOUND"
            assert f"there is no tenants/acme/heads/{head}" in answer.shown


# --- who gets through; last, as what it stores makes the others' digests slow

numbers = itertools.count()


@pytest.mark.parametrize("rpc", RPCS, ids=str)
def test_right_role_gets_through(site: Site, rpc: Rpc) -> None:
    with site.client(site.operator) as client:
        weights = client.export_head("acme/shown").safetensors
        keys = [site.roles[role] for role in rpc.roles if role != OPERATE]
        for key in [*keys, site.operator]:
            for over in TRANSPORTS:
                number = next(numbers)
                of = ids(site, head="shown" if rpc.reads else f"passes-{number}")
                if rpc in OF_ANY_TENANT:
                    of["tenant"] = f"passes-{number}"
                    client.create_key(of["tenant"], ["label"])
                if rpc.of_head and not rpc.reads:
                    client.import_head(f"acme/{of['head']}", weights, TEXTS)
                if rpc.of_key:
                    made = client.create_key("acme", ["label"])
                    of["key"] = made.key.name.removeprefix("keys/")
                more = {**rpc.more, "head_id": of["head"]} if "head_id" in rpc.more else rpc.more
                asked = replace(rpc, more=more)
                answer = site.asking.one(asked, key, over, of)
                assert answer.code == rpc.reaches, answer
