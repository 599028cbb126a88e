"""What a browser gets from the real server, and whether its OpenAPI document is true."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser import launched, watched
from tests.e2e.conftest import TEXTS
from tests.e2e.pages import check_pages
from tests.e2e.processes import Running
from tests.openapi import DOCUMENT, assert_fits


def test_pages_are_those_of_this_product(http: httpx.Client) -> None:
    check_pages(http)
    assert http.get("/openapi.json").json() == DOCUMENT


def test_probes_and_metrics_answer_as_the_document_says(http: httpx.Client) -> None:
    probes = [path for path, item in DOCUMENT["paths"].items() if "Health" in tags(item)]
    assert sorted(probes) == ["/healthz", "/livez", "/metrics", "/readyz"]
    for path in probes:
        answer = http.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert http.get(path, headers={"origin": "http://evil.example"}).status_code == 403
    assert http.get("/metrics", headers={"host": "evil.example"}).status_code == 403


def test_native_endpoints_are_documented_as_bentoml_describes_them(http: httpx.Client) -> None:
    routes = {route["route"]: route for route in http.get("/schema.json").json()["routes"]}
    documented = {path for path, item in DOCUMENT["paths"].items() if "post" in item}
    assert {path for path in documented if not path.startswith("/v1")} == set(routes)
    rows = DOCUMENT["components"]["schemas"]["Row"]["properties"]
    for path, route in routes.items():
        body = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for part in ("properties", "required"):
            assert set(body["schema"][part]) == set(route["input"][part])
        assert set(route["input"]["properties"]["inputs"]["items"]["properties"]) == set(rows)


def test_replies_that_are_rows_fit_the_document(http: httpx.Client, text_head: str) -> None:
    inputs = [{"text": "a pleasure"}, {"image": "AAAA"}]
    body = {"inputs": inputs, "conformal_level": 0.9, "top_k": 1}
    answer = http.post(f"/v1/{text_head}:predict", json=body)
    good, bad = answer.json()["predictions"]
    assert "set" in good
    assert "error" in bad
    assert_fits(body, "PredictRequest")
    assert_fits(answer.json(), "PredictResponse")
    answer = http.post("/v1/tenants/shared:embed", json={"inputs": inputs, "backbone": TEXTS})
    assert_fits(answer.json(), "EmbedResponse")
    refused = http.post("/predict", content=b"x", headers={"content-type": "multipart/form-data"})
    assert refused.status_code == 400
    assert_fits(refused.json(), "Problem")
    native = {"head": "shared/sentiment", "inputs": inputs[:1]}
    assert_fits(http.post("/predict", json=native).json(), "PredictResponse")
    report = http.get(f"/v1/{text_head}/versions/active/report").json()
    assert report["report"]["evaluation"]["confusion"]
    assert_fits(report, "GetHeadReportResponse")
    listed = http.get(f"/v1/{text_head}/examples", params={"page_size": 3}).json()
    assert listed["examples"][0]["create_time"]
    assert_fits(listed, "ListExamplesResponse")


def tags(item: dict[str, dict[str, list[str]]]) -> list[str]:
    return [tag for operation in item.values() for tag in operation["tags"]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of a browser that prefers light or dark."""
    context = browser.new_context(color_scheme=request.param)
    with watched(context) as page:
        yield page
    context.close()


@pytest.mark.long
def test_browser_shows_the_pages_and_asks_no_other_host(page: Page, server: Running) -> None:
    page.goto(f"data:text/html,<a href='{server.rest}'>a link of another site</a>")
    page.get_by_role("link").click()
    page.get_by_role("heading", name="Trunkline").wait_for()
    assert Axe().run(page).violations_count == 0  # of the rules of accessibility
    page.get_by_role("link", name="/docs").click()
    embed = page.locator("#operations-ExtractionService-Embed")
    embed.locator(".opblock-summary-control").click()
    embed.get_by_text("Embeds inputs with one backbone.").wait_for()
    shown = page.locator(".opblock").count()
    assert shown == sum(len(item) for item in DOCUMENT["paths"].values())


@pytest.mark.long
def test_request_can_be_tried_in_the_browser(page: Page, server: Running) -> None:
    page.goto(f"{server.rest}/docs")
    listing = page.locator("#operations-ExtractionService-ListBackbones")
    listing.locator(".opblock-summary-control").click()
    listing.get_by_role("button", name="Try it out").click()
    listing.get_by_role("button", name="Execute").click()
    answered = listing.locator(".live-responses-table .response-col_status", has_text="200")
    answered.wait_for()
    assert re.search(f'"name": "{TEXTS}"', listing.inner_text())
