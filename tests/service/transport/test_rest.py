"""The use cases through the routes of REST."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from service.transport.rest import Backend, rest_app
from tests.service.server import HEAD, LABELS, InProcessServer, import_request


@pytest.fixture
async def rest(server: InProcessServer) -> AsyncIterator[httpx.AsyncClient]:
    backend = Backend()
    backend.attach(server.application.handlers, server.application.calls)
    transport = httpx.ASGITransport(rest_app(backend))
    async with httpx.AsyncClient(transport=transport, base_url="http://test/v1") as client:
        yield client


async def test_head_is_made_fed_and_asked_over_rest(rest: httpx.AsyncClient) -> None:
    head = {"head_id": "defects", "backbone": "tiny/text"}
    made = await rest.post("/tenants/acme/heads", json=head)
    assert made.status_code == 200
    assert made.json()["head"]["name"] == HEAD
    examples = [{"input": {"text": text}, "label": label} for text, label in LABELS.items()]
    added = await rest.post(f"/{HEAD}/examples", json={"examples": examples})
    assert added.json()["added"] == 4
    started = await rest.post(f"/{HEAD}:train")
    assert started.status_code == 202
    name = started.json()["training"]["name"]
    assert (await rest.get(f"/{name}")).status_code == 200
    assert (await rest.get(f"/{HEAD}/examples", params={"page_size": 3})).json()["next_page_token"]


async def test_form_of_rest_is_predicted_row_by_row(
    rest: httpx.AsyncClient, server: InProcessServer
) -> None:
    await server.ask("ImportHead", import_request())
    answer = await rest.post(f"/{HEAD}:predict", files=[("text", b"good"), ("text", b"\xff")])
    good, bad = answer.json()["predictions"]
    assert good["label"] == "yes"
    assert bad["error"]["field"] == "text"
    assert answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("verb", "path", "content", "status", "code"),
    [
        ("GET", f"/{HEAD}", b"", 404, "NOT_FOUND"),
        ("GET", "/tenants/not%20ok/heads/x", b"", 400, "INVALID_ARGUMENT"),
        ("POST", f"/{HEAD}:predict", b"{", 400, "INVALID_ARGUMENT"),
        ("POST", f"/{HEAD}:predict", b'{"head": "tenants/b/heads/c"}', 400, "INVALID_ARGUMENT"),
        ("POST", f"/{HEAD}:train", b"", 404, "NOT_FOUND"),
        ("GET", f"/{HEAD}/versions/0", b"", 400, "INVALID_ARGUMENT"),
        ("GET", "/tenants/acme/heads?page_size=-1", b"", 400, "INVALID_ARGUMENT"),
        ("GET", "/tenants/acme/heads?page_token=%ED%A0%80", b"", 400, "INVALID_ARGUMENT"),
    ],
)
async def test_failed_request_over_rest_is_a_problem_document(
    rest: httpx.AsyncClient, verb: str, path: str, content: bytes, status: int, code: str
) -> None:
    answer = await rest.request(verb, path, content=content)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == answer.headers["X-Request-Id"] != ""
    assert "Traceback" not in answer.text
