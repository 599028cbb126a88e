"""The handlers through the routes of REST."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.routing import Route

from service.access.authentication import NoKeys
from service.errors import QueueFull
from service.metrics import Metrics
from service.requests.call import Call
from service.requests.calls import Calls, Handler
from service.requests.tensors import to_tensor
from service.transport.backend import Backend
from service.transport.rest import rest_app
from tests.service.server import HEAD, LABELS, InProcessServer, import_request
from tests.service.transport.open_backend import as_anyone
from trunkline.v1 import heads_pb2, prediction_pb2


def opened(
    handlers: Mapping[str, Handler], calls: Calls, peer: str = "127.0.0.1"
) -> httpx.AsyncClient:
    """A client on the machine `peer` of an application with these handlers."""
    backend = Backend()
    backend.attach(handlers, calls, NoKeys())
    transport = httpx.ASGITransport(as_anyone(rest_app(backend)), client=(peer, 50_000))
    return httpx.AsyncClient(transport=transport, base_url="http://test/v1")


@pytest.fixture
async def rest(server: InProcessServer) -> AsyncIterator[httpx.AsyncClient]:
    async with opened(server.application.handlers, server.application.calls) as client:
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


async def test_query_string_cannot_name_another_tenant_than_the_path(
    rest: httpx.AsyncClient,
) -> None:
    answer = await rest.get("/tenants/acme/heads", params={"parent": "tenants/bolt"})
    assert answer.status_code == 400
    assert (answer.json()["field"], answer.json()["value"]) == ("parent", "tenants/bolt")


async def test_request_and_its_failed_rows_are_counted_for_their_tenant(
    rest: httpx.AsyncClient, server: InProcessServer
) -> None:
    await server.ask("ImportHead", import_request())
    await rest.post(f"/{HEAD}:predict", files=[("text", b"good")])
    await rest.post(f"/{HEAD}:predict", files=[("text", b"good"), ("text", b"\xff")])

    def counted(name: str, **labels: str) -> float | None:
        registry = server.application.metrics.registry
        labels |= {"method": "Predict", "tenant": "acme"}
        return registry.get_sample_value(f"trunkline_{name}_total", labels)

    assert counted("requests", transport="rest", code="OK") == 2
    assert counted("rows", code="OK") == 2
    assert counted("rows", code="INVALID_ARGUMENT") == 1


async def test_reply_that_cannot_be_written_is_an_error_with_its_id_and_is_counted_so() -> None:
    async def predict(request: Any, call: Call) -> prediction_pb2.PredictResponse:
        group = prediction_pb2.HeadPredictions(
            labels=["a"],
            rows=[0],
            indices=to_tensor(np.zeros((1, 1), np.uint32)),
            probabilities=to_tensor(np.full((1, 1), np.inf, np.float32)),
        )
        return prediction_pb2.PredictResponse(predictions=[group], digests=["0" * 64])

    metrics = Metrics(5)
    async with opened({"Predict": predict}, Calls(metrics, 60)) as client:
        answer = await client.post(f"/{HEAD}:predict", json={"inputs": [{"text": "a"}]})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"] != ""
    labels = {"method": "Predict", "transport": "rest", "tenant": "other"}
    for code, count in (("INTERNAL", 1), ("OK", None)):
        found = metrics.registry.get_sample_value(
            "trunkline_requests_total", {**labels, "code": code}
        )
        assert found == count


@pytest.mark.parametrize(("peer", "local"), [("127.0.0.1", True), ("192.0.2.1", False)])
async def test_handler_knows_whether_the_client_is_on_this_machine(peer: str, local: bool) -> None:
    seen: list[bool] = []

    async def get(request: Any, call: Call) -> heads_pb2.GetHeadResponse:
        seen.append(call.local)
        return heads_pb2.GetHeadResponse()

    async with opened({"GetHead": get}, Calls(Metrics(5), 60), peer) as client:
        await client.get(f"/{HEAD}")
    assert seen == [local]


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (1.0, "1"), (4.6, "5")])
async def test_refusal_says_in_whole_seconds_when_to_come_back_and_never_at_once(
    seconds: float, header: str
) -> None:
    async def full(request: Any, call: Call) -> heads_pb2.GetHeadResponse:
        raise QueueFull("rows: at most 4", retry_after=seconds)

    async with opened({"GetHead": full}, Calls(Metrics(5), 60)) as client:
        answer = await client.get(f"/{HEAD}")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, header)


async def test_refusal_for_good_names_no_time_to_come_back(rest: httpx.AsyncClient) -> None:
    answer = await rest.get(f"/{HEAD}")
    assert answer.status_code == 404
    assert "Retry-After" not in answer.headers


ROUTES = rest_app(Backend()).routes
VERBS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


async def test_wrong_verb_is_told_all_right_ones_on_every_path(rest: httpx.AsyncClient) -> None:
    for route in ROUTES:
        assert isinstance(route, Route)
        if not route.path.startswith("/v1/"):
            continue
        assert route.methods
        path = route.path.removeprefix("/v1").replace(":id}", "}")
        path = path.format(id0="acme", id1="defects", id2="1")
        for verb in VERBS - route.methods:
            answer = await rest.request(verb, path)
            assert answer.status_code == 405, (verb, path)
            assert set(answer.headers["allow"].split(", ")) == route.methods


async def test_label_with_escapes_in_a_query_is_that_label(
    rest: httpx.AsyncClient, server: InProcessServer
) -> None:
    await rest.post("/tenants/acme/heads", json={"head_id": "defects", "backbone": "tiny/text"})
    label = "50% & more/less \N{GRINNING FACE}"
    await rest.post(
        f"/{HEAD}/examples", json={"examples": [{"input": {"text": "a"}, "label": label}]}
    )
    for asked, count in ((label, 1), ("50%", 0)):
        found = await rest.get(f"/{HEAD}/examples", params={"label": asked})
        assert len(found.json()["examples"]) == count
    broken = await rest.get(f"/{HEAD}/examples?label=%ff")
    assert (broken.status_code, broken.json()["field"]) == (400, "label")


async def test_half_an_emoji_costs_its_row_alone_in_json_and_in_a_form(
    rest: httpx.AsyncClient, server: InProcessServer
) -> None:
    await rest.post("/tenants/acme/heads", json={"head_id": "defects", "backbone": "tiny/text"})
    half = "\\ud83d"
    rows = [
        '{"input": {"text": "a"}, "label": "x"}',
        f'{{"input": {{"text": "b{half}"}}, "label": "x"}}',
        f'{{"input": {{"text": "c"}}, "label": "{half}"}}',
    ]
    body = f'{{"examples": [{", ".join(rows)}]}}'
    json_type = {"content-type": "application/json"}
    added = (await rest.post(f"/{HEAD}/examples", content=body, headers=json_type)).json()
    assert (added["added"], added["failed"]) == (1, 2)
    assert [(row["row"], row["field"]) for row in added["errors"]] == [(1, "text"), (2, "label")]
    parts = [("text", b"d"), ("label", b"x"), ("text", b"e\xed\xa0\xbd"), ("label", b"x")]
    parts += [("text", b"f"), ("label", b"caf\xe9")]
    form = (
        b"".join(
            b'--sep\r\nContent-Disposition: form-data; name="'
            + name.encode()
            + b'"\r\n\r\n'
            + value
            + b"\r\n"
            for name, value in parts
        )
        + b"--sep--\r\n"
    )
    form_type = {"content-type": "multipart/form-data; boundary=sep"}
    added = (await rest.post(f"/{HEAD}/examples", content=form, headers=form_type)).json()
    assert (added["added"], added["failed"]) == (1, 2)
    assert [(row["row"], row["field"]) for row in added["errors"]] == [(1, "text"), (2, "label")]


async def test_text_of_a_form_may_be_as_long_as_any_other(
    rest: httpx.AsyncClient, server: InProcessServer
) -> None:
    await server.ask("ImportHead", import_request())
    answer = await rest.post(
        f"/{HEAD}:predict", files=[("text", (None, "x" * 2_000_000)), ("text", (None, "good"))]
    )
    long, good = answer.json()["predictions"]
    assert long["error"]["value"] == "2000000"
    assert good["label"] == "yes"


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=other"]
)
async def test_form_without_its_boundary_is_refused_in_our_words(
    rest: httpx.AsyncClient, content_type: str
) -> None:
    answer = await rest.post(
        f"/{HEAD}:predict", content=b"--sep\r\n", headers={"content-type": content_type}
    )
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("body: must be multipart/form-data")


PART = b'--a\r\nContent-Disposition: form-data; name="text"\r\n'
FORM = {"content-type": "multipart/form-data; boundary=a"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (PART + b"\r\nwhole\r\n" + PART + b"\r\nhalf a te", "its end cut off"),
        (PART + b"\r\nwhole\r\n--a", "its end cut off"),
        (b"", "its end cut off"),
        (PART + b"Content-Transfer-Encoding: base64\r\n\r\nd2hvbGU=\r\n--a--\r\n", "base64"),
        (PART + b"Content-Type: text/plain; charset=utf-16\r\n\r\nh\0i\0\r\n--a--\r\n", "utf-16"),
    ],
)
async def test_form_that_would_be_taken_for_another_is_refused(
    rest: httpx.AsyncClient, body: bytes, reason: str
) -> None:
    answer = await rest.post(f"/{HEAD}:predict", content=body, headers=FORM)
    assert (answer.status_code, answer.json()["field"]) == (400, "body")
    assert reason in answer.json()["detail"]


@pytest.mark.parametrize(
    "header", ["Content-Transfer-Encoding: 8BIT", "Content-Type: text/plain; charset=UTF-8"]
)
async def test_form_whose_parts_say_how_they_are_is_read(
    rest: httpx.AsyncClient, server: InProcessServer, header: str
) -> None:
    await server.ask("ImportHead", import_request())
    body = PART + header.encode() + b"\r\n\r\ngood\r\n--a--\r\nwhat comes after it"
    answer = await rest.post(f"/{HEAD}:predict", content=body, headers=FORM)
    assert answer.json()["predictions"][0]["label"] == "yes"


async def test_error_at_the_deadline_is_nobodys_secret(
    rest: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    late = {"X-Request-Timeout": "1e-9"}
    answer = await rest.post(f"/{HEAD}:predict", json={"inputs": []}, headers=late)
    assert answer.status_code == 504
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_query_and_body_may_say_the_same_number(rest: httpx.AsyncClient) -> None:
    path = f"/{HEAD}:predict"
    same = await rest.post(path, params={"top_k": 1}, json={"top_k": 1})
    assert same.json()["field"] == "inputs"
    other = await rest.post(path, params={"top_k": 1}, json={"top_k": 2})
    problem = other.json()
    assert (problem["field"], problem["limit"], problem["value"]) == ("top_k", "1", "2")


async def test_half_an_emoji_for_a_digest_costs_its_row(
    rest: httpx.AsyncClient, server: InProcessServer
) -> None:
    await server.ask("ImportHead", import_request())
    asked = b'{"digests": ["\\ud83d", "' + b"a" * 64 + b'"]}'
    for verb in ("delete", "forget"):
        answer = await rest.post(f"/{HEAD}/examples:{verb}", content=asked)
        errors = answer.json()["errors"]
        assert [error["code"] for error in errors] == ["INVALID_ARGUMENT", "NOT_FOUND"], verb


async def test_files_of_a_form_are_held_without_open_files(
    server: InProcessServer,
) -> None:
    opened_files: list[int] = []

    async def handle(*_: object) -> prediction_pb2.PredictResponse:
        return prediction_pb2.PredictResponse()

    async def body() -> AsyncIterator[bytes]:
        part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(5):
            yield part + b"0" * 2**21 + b"\r\n"
            opened_files.append(len(os.listdir("/proc/self/fd")))
        yield b"--x--\r\n"

    async with opened({"Predict": handle}, server.application.calls) as http:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        reply = await http.post(f"/{HEAD}:predict", content=body(), headers=headers)
    assert reply.status_code == 200
    assert opened_files[-1] == opened_files[0]
