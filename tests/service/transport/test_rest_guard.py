"""What no REST request gets past."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.transport.rest_guard import RestGuard

LIMIT = 1000


async def echo(request: Request) -> Response:
    body = await request.body()
    return JSONResponse({"bytes": len(body), "type": request.headers.get("content-type", "")})


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = RestGuard(
        Starlette(
            routes=[Route(path, echo, methods=["GET", "POST"]) for path in ("/", "/predict")]
        ),
        LIMIT,
        loopback_only=True,
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as opened:
        yield opened


@pytest.mark.parametrize(
    "media_type",
    [
        *("application/vnd.bentoml+pickle", "application/x-pickle", "application/octet-stream"),
        *("APPLICATION/VND.BENTOML+PICKLE", "application/vnd.bentoml+pickle; charset=utf-8"),
        *("image/png", "application/xml", "application/json, application/vnd.bentoml+pickle"),
    ],
)
async def test_media_type_other_than_json_or_a_form_is_refused(
    client: httpx.AsyncClient, media_type: str
) -> None:
    answer = await client.post("/", content=b"x", headers={"content-type": media_type})
    assert answer.status_code == 415
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["field"] == "content-type"
    assert problem["code"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize("pickle_first", [True, False])
async def test_pickle_cannot_hide_behind_a_second_content_type(
    client: httpx.AsyncClient, pickle_first: bool
) -> None:
    types = ["application/vnd.bentoml+pickle", "application/json"]
    headers = [("content-type", name) for name in (types if pickle_first else types[::-1])]
    answer = await client.post("/", content=b"x", headers=headers)
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "media_type", ["application/json", "application/json; charset=utf-8", "Application/JSON"]
)
async def test_json_passes(client: httpx.AsyncClient, media_type: str) -> None:
    answer = await client.post("/", content=b"{}", headers={"content-type": media_type})
    assert answer.json() == {"bytes": 2, "type": media_type}


async def test_form_passes(client: httpx.AsyncClient) -> None:
    answer = await client.post("/", files={"image": b"png"})
    assert answer.status_code == 200


async def test_native_endpoint_takes_no_form(client: httpx.AsyncClient) -> None:
    answer = await client.post("/predict", files={"image": b"png"})
    assert answer.status_code == 415
    assert (answer.json()["limit"], answer.json()["value"]) == (
        "application/json",
        "multipart/form-data",
    )
    assert (await client.post("/predict", json={})).status_code == 200


async def test_request_without_a_body_passes(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).json() == {"bytes": 0, "type": ""}


async def test_body_at_the_limit_passes(client: httpx.AsyncClient) -> None:
    assert (await client.post("/", content=b"x" * LIMIT)).json()["bytes"] == LIMIT


async def test_body_that_says_it_is_too_large_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/", content=b"x" * (LIMIT + 1))
    assert answer.status_code == 413
    problem = answer.json()
    assert (problem["field"], problem["limit"], problem["value"]) == ("body", "1000", "1001")


async def test_body_that_does_not_say_its_size_is_counted(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    answer = await client.post("/", content=chunks())
    assert answer.status_code == 413
    assert answer.json()["field"] == "body"


@pytest.mark.parametrize("length", ["", "-1", "many", "1e3", "9" * 5000])
async def test_content_length_that_is_no_number_of_bytes_is_refused(
    client: httpx.AsyncClient, length: str
) -> None:
    answer = await client.post("/", content=b"x", headers={"content-length": length})
    assert answer.status_code == 400


async def test_what_is_not_http_passes_untouched() -> None:
    seen: list[str] = []

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append("lifespan")

    async def never() -> dict[str, object]:
        raise AssertionError

    async def nowhere(message: object) -> None:
        raise AssertionError

    await RestGuard(app, LIMIT, loopback_only=True)({"type": "lifespan"}, never, nowhere)
    assert seen == ["lifespan"]


@pytest.mark.parametrize("host", ["localhost:3000", "127.0.0.1", "127.0.0.1:3000", "[::1]:3000"])
async def test_loopback_names_are_served(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:3000", "192.168.1.7", "["])
async def test_name_that_a_page_rebound_to_loopback_is_refused(
    client: httpx.AsyncClient, host: str
) -> None:
    answer = await client.get("/", headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["field"] == "host"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_page_of_another_site_is_refused(client: httpx.AsyncClient, site: str) -> None:
    answer = await client.post("/", content=b"{}", headers={"sec-fetch-site": site})
    assert answer.status_code == 403
    assert answer.json()["field"] == "sec-fetch-site"


@pytest.mark.parametrize(
    ("path", "destination", "status"),
    [
        ("/", "document", 200),
        ("/", "iframe", 403),
        ("/", "empty", 403),
        ("/predict", "document", 403),
    ],
)
async def test_link_of_another_site_leads_to_pages_alone(
    client: httpx.AsyncClient, path: str, destination: str, status: int
) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-dest": destination}
    assert (await client.get(path, headers=headers)).status_code == status


async def test_answer_of_the_router_becomes_a_problem_that_keeps_what_is_allowed(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.delete("/")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == "path"
