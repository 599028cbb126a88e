"""What no REST request gets past."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from service.transport.receiving import ReceivingBudget
from service.transport.rest_guard import (
    MAX_HEADER_BYTES,
    MAX_TARGET_BYTES,
    RestGuard,
)
from service.transport.sites import PROBES
from tests.service.transport.guarded import (
    LIMIT,
    PATHS,
    open_client,
)
from tests.service.transport.open_backend import open_backend

NAMED = "https://models.example.org"

FOREIGN = [
    *("http://evil.example", "https://localhost:80", "http://localhost:3000", "http://127.0.0.1"),
    *("null", "", "localhost", "http://localhost/", "http://localhost:0", "http://[", "file://"),
    *("http://localhost:99999", "http://evil@localhost", "http://localhost, http://evil.example"),
]


@pytest.fixture
async def insecure() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that listens beyond loopback and lets one more origin in."""
    async with open_client(loopback_only=False, allowed_origins=[NAMED]) as opened:
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
    assert "accept-encoding" not in answer.headers, "the coding was not at fault"
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


@pytest.mark.parametrize("path", ["/", "/predict"])
async def test_form_passes(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, files={"image": b"png"})
    assert answer.status_code == 200


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

    guard = RestGuard(app, LIMIT, ReceivingBudget(10**6, 60), open_backend(), loopback_only=True)
    await guard({"type": "lifespan"}, never, nowhere)
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


@pytest.mark.parametrize("origin", FOREIGN)
async def test_origin_that_is_not_the_hosts_is_refused_on_every_route(
    client: httpx.AsyncClient, insecure: httpx.AsyncClient, origin: str
) -> None:
    headers = {"origin": origin}
    for either in (client, insecure):
        for path in PATHS:
            for answer in (
                await either.get(path, headers=headers),
                await either.post(path, json={}, headers=headers),
                await either.post(path, files={"image": b"png"}, headers=headers),
            ):
                assert answer.status_code == 403, path
                assert answer.headers["content-type"] == "application/problem+json"
                assert "access-control-allow-origin" not in answer.headers
                problem = answer.json()
                assert (problem["field"], problem["reason"]) == ("origin", "FORBIDDEN")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        *(("localhost", "http://localhost"), ("localhost:3000", "http://localhost:3000")),
        *(("LOCALHOST:80", "http://localhost"), ("localhost", "http://localhost:80")),
        *(("[::1]:3000", "http://[::1]:3000"), ("127.0.0.1:3000", "http://127.0.0.1:3000")),
    ],
)
async def test_page_of_the_server_itself_is_served(
    client: httpx.AsyncClient, host: str, origin: str
) -> None:
    headers = {"host": host, "origin": origin}
    assert (await client.post("/", json={}, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("scheme", "origin", "status"),
    [
        *(("https", "https://localhost", 200), ("https", "https://localhost:443", 200)),
        *(("https", "http://localhost", 403), ("http", "https://localhost", 403)),
        *(("https", "http://localhost:443", 403), ("http", "https://localhost:80", 403)),
    ],
)
async def test_page_of_the_same_host_over_another_scheme_is_another_site(
    client: httpx.AsyncClient, scheme: str, origin: str, status: int
) -> None:
    answer = await client.post(f"{scheme}://localhost/", json={}, headers={"origin": origin})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("address", "said"),
    [
        *(("https://models.example.org/", True), ("http://models.example.org/", False)),
        *(("https://localhost:3000/", False), ("https://127.0.0.1/", False)),
    ],
)
async def test_browsers_are_told_to_use_tls_alone_where_it_is_spoken(
    client: httpx.AsyncClient, address: str, said: bool
) -> None:
    """Not for loopback, a name that other servers have, too."""
    for path in ("", "nowhere", "readyz"):
        answer = await client.get(address + path)
        assert ("strict-transport-security" in answer.headers) == said


async def test_second_origin_cannot_hide_behind_the_first(client: httpx.AsyncClient) -> None:
    for origins in (["http://localhost", "http://evil.example"], ["null", "http://localhost"]):
        headers = [("origin", origin) for origin in origins]
        assert (await client.post("/", json={}, headers=headers)).status_code == 403


async def test_origin_that_the_settings_name_is_served(
    client: httpx.AsyncClient, insecure: httpx.AsyncClient
) -> None:
    headers = {"origin": NAMED, "sec-fetch-site": "cross-site"}
    assert (await insecure.post("/predict", json={}, headers=headers)).status_code == 200
    assert (await client.post("/predict", json={}, headers=headers)).status_code == 403
    for other in (f"{NAMED}:8443", NAMED.replace("https", "http"), f"{NAMED}.evil.example"):
        headers = {"origin": other}
        assert (await insecure.post("/predict", json={}, headers=headers)).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_page_of_another_site_reads_no_metrics_and_no_probe(
    client: httpx.AsyncClient, insecure: httpx.AsyncClient, site: str
) -> None:
    for either in (client, insecure):
        for path in ("/metrics", *PROBES):
            answer = await either.get(path, headers={"sec-fetch-site": site})
            assert answer.status_code == 403
            assert answer.json()["field"] == "sec-fetch-site"


async def test_rebound_name_reads_no_metrics_and_may_probe(client: httpx.AsyncClient) -> None:
    headers = {"host": "evil.example:3000"}
    refused = await client.get("/metrics", headers=headers)
    assert (refused.status_code, refused.json()["field"]) == (403, "host")
    for path in PROBES:  # which show nothing, and are asked under any name
        assert (await client.get(path, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 404), ({"origin": "http://evil.example"}, 403)]
)
async def test_web_socket_is_refused_in_our_words(headers: dict[str, str], status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError

    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/v1/tenants/acme/heads",
        "query_string": b"",
        "headers": [(b"host", b"localhost")]
        + [(name.encode(), value.encode()) for name, value in headers.items()],
        "extensions": {"websocket.http.response": {}},
    }
    budget = ReceivingBudget(10**6, 60)
    await RestGuard(app, LIMIT, budget, open_backend(), loopback_only=True)(scope, receive, send)
    assert [message["type"] for message in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert sent[0]["status"] == status
    assert json.loads(sent[1]["body"])["status"] == status


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
    problem = answer.json()
    assert problem["field"] == "path"
    assert problem["detail"] == f"path: / takes {answer.headers['allow']}, not DELETE"


async def test_path_that_is_not_there_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/nothing")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "path: there is no GET /v1/nothing"


async def test_path_or_headers_beyond_their_limit_are_refused(client: httpx.AsyncClient) -> None:
    long = await client.get(f"/?page_token={'x' * MAX_TARGET_BYTES}")
    assert long.status_code == 414
    assert (long.json()["field"], long.json()["limit"]) == ("path", str(MAX_TARGET_BYTES))
    wide = await client.get("/", headers={"x-much": "x" * MAX_HEADER_BYTES})
    assert wide.status_code == 431
    assert (wide.json()["field"], wide.json()["limit"]) == ("headers", str(MAX_HEADER_BYTES))
