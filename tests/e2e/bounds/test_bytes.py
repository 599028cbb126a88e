"""What is wrong before it is a message: bytes, bodies, paths, headers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import grpc
import httpx
import pytest

from tests.e2e.bounds.checks import SVG, TENANT, assert_logged, assert_tells_no_secret
from tests.e2e.processes import Running
from tests.e2e.samples import Labelled, noise_png
from tests.e2e.transports import (
    METHODS,
    Grpc,
    Refused,
    accepted,
    image,
    json_body,
    refusal,
    text,
)
from trunkline.v1 import extraction_pb2, extraction_pb2_grpc, prediction_pb2


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.usefixtures("_unchanged")
def test_bytes_that_are_no_message_are_refused(
    server: Running, heads: dict[str, str], method: str
) -> None:
    connected = Grpc(server.grpc)
    try:
        with pytest.raises(Refused) as refused:
            connected.exchange(METHODS[method], [b"\xff\xff\xff\xff"])
    finally:
        connected.close()
    assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "request")
    assert_tells_no_secret(refused.value.text)
    assert_logged(server, refused.value.request_id)


@pytest.mark.parametrize("path", ["/trunkline.v1.HeadService/Nothing", "/no.Service/Nothing"])
def test_unknown_method_is_unimplemented(server: Running, path: str) -> None:
    way = Grpc(server.grpc)
    with pytest.raises(grpc.RpcError) as refused:
        way.channel.unary_unary(path)(b"", timeout=30)
    way.close()
    error = refusal(refused.value)
    assert (error.code, error.field) == ("UNIMPLEMENTED", "method")
    assert_logged(server, error.request_id)


@pytest.mark.parametrize(
    ("size", "code"),
    [((64 << 20) + 1, "INVALID_ARGUMENT"), (80 << 20, "RESOURCE_EXHAUSTED")],
    ids=["by the server", "by gRPC itself"],
)
def test_message_over_the_limit_is_refused_before_it_is_parsed(
    server: Running, heads: dict[str, str], size: int, code: str
) -> None:
    way = Grpc(server.grpc)
    with pytest.raises(Refused) as refused:
        way.exchange(METHODS["Predict"], [b"\0" * size])
    way.close()
    error = refused.value
    assert error.code == code
    assert str(size) in error.message
    if code == "INVALID_ARGUMENT":
        assert (error.field, error.limit, error.value) == ("request", str(64 << 20), str(size))
        assert_logged(server, error.request_id)


class Body:
    """Requests of REST that are wrong before they are messages."""

    json = "application/json"
    path = f"/v1/{TENANT}/heads/text:predict"


@pytest.mark.parametrize(
    ("content", "status", "field"),
    [
        (b"{", 400, "body"),
        (b"\xff\xfe", 400, "body"),
        (b"[]", 400, "body"),
        (b'"text"', 400, "body"),
        (b"[" * 100_000, 400, "body"),
        (b'{"a":' * 100_000, 400, "body"),
        (b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "body"),
        (b'{"inputs": [{"image": [255, 216]}]}', 400, "inputs[0].image"),
        (b'{"inputs": [{"image": "/9j/4AAQSkZJRgAB\xef\xbf\xbd"}]}', 400, "inputs[0].image"),
        (b'{"inputs": [{"image": "http://127.0.0.1/a.jpg"}]}', 400, "inputs[0].image"),
        (b'{"unknown_field": 1}', 400, "unknown_field"),
        (b'{"inputs": [{"text": 1}]}', 400, "inputs[0].text"),
        (b'{"inputs": [{"text": "a", "image": "YQ=="}]}', 400, "inputs[0]"),
        (b'{"inputs": [{"text": "a"}], "top_k": -1}', 400, "top_k"),
        (b'{"inputs": [{"text": "a"}], "top_k": 1e99}', 400, "top_k"),
        (b'{"inputs": [{"text": "a"}], "top_k": NaN}', 400, "top_k"),
        (b'{"head": "tenants/other/heads/text", "inputs": [{"text": "a"}]}', 400, "head"),
        (b'{"inputs": [{"url": "http://127.0.0.1/"}]}', 400, "inputs[0].url"),
    ],
    ids=range(18),
)
@pytest.mark.usefixtures("_unchanged")
def test_bad_json_is_refused(
    http: httpx.Client, server: Running, content: bytes, status: int, field: str
) -> None:
    response = http.post(Body.path, content=content, headers={"content-type": Body.json})
    assert (response.status_code, response.json()["field"]) == (status, field)
    assert_tells_no_secret(response.text)
    assert_logged(server, response.json()["request_id"])


@pytest.mark.parametrize("path", ["/predict", "/embed", Body.path, f"/v1/{TENANT}/heads"])
@pytest.mark.parametrize(
    "content_type",
    [
        "application/vnd.bentoml+pickle",
        "application/pickle",
        "application/octet-stream",
        "application/x-protobuf",
        "application/xml",
        "audio/ogg",
    ],
)
@pytest.mark.usefixtures("_unchanged")
def test_other_media_types_are_refused(
    http: httpx.Client, server: Running, path: str, content_type: str
) -> None:
    pickle = b"cposix\nsystem\n(S'true'\ntR."
    response = http.post(path, content=pickle, headers={"content-type": content_type})
    assert response.status_code == 415
    problem = response.json()
    assert (problem["field"], problem["value"]) == ("content-type", content_type)
    assert_logged(server, problem["request_id"])


@pytest.mark.parametrize("path", ["/predict", Body.path])
@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.usefixtures("_unchanged")
def test_body_over_the_limit_is_refused(
    http: httpx.Client, server: Running, path: str, announced: bool
) -> None:
    limit = int((64 << 20) * 1.4)
    chunk = b" " * (1 << 20)

    def body() -> Iterator[bytes]:
        for _ in range(limit // len(chunk) + 1):
            yield chunk

    content: bytes | Iterator[bytes] = b"".join(body()) if announced else body()
    response = http.post(path, content=content, headers={"content-type": Body.json})
    problem = response.json()
    assert response.status_code in (400, 413)
    assert (problem["field"], problem["limit"]) == ("body", str(limit))
    assert int(problem["value"]) > limit
    assert_logged(server, problem["request_id"])


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("DELETE", f"/v1/{TENANT}/heads", 405),
        ("POST", f"/v1/{TENANT}/heads/text:nothing", 404),
        ("GET", f"/v1/{TENANT}/heads/text:predict", 405),
        ("DELETE", f"/v1/{TENANT}:embed", 405),
        ("PUT", f"/v1/{TENANT}/heads/text", 405),
        ("GET", "/predict", 405),
        ("POST", "/nothing", 404),
    ],
)
def test_unknown_path_is_a_problem_document(
    http: httpx.Client, server: Running, verb: str, path: str, status: int
) -> None:
    response = http.request(verb, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert response.json()["code"] == "UNIMPLEMENTED"
    assert path in response.json()["detail"]
    assert response.json()["value"] == f"{verb} {path}"
    if status == 405:
        assert response.headers["allow"] == response.json()["limit"] != ""
    assert_tells_no_secret(response.text)
    assert_logged(server, response.json()["request_id"])


@pytest.mark.parametrize(
    ("query", "field"),
    [("page_size=x", "page_size"), ("unknown=1", "unknown"), ("page_size=-1", "page_size")],
)
def test_bad_query_is_refused(http: httpx.Client, query: str, field: str) -> None:
    with pytest.raises(Refused) as refused:
        accepted(http.get(f"/v1/{TENANT}/heads?{query}"))
    assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", field)


def test_bad_timeout_header_is_refused(http: httpx.Client, server: Running) -> None:
    for seconds in ("soon", "-1", "nan", "inf"):
        response = http.get(f"/v1/{TENANT}/heads", headers={"X-Request-Timeout": seconds})
        assert response.status_code == 400
        assert response.json()["field"] == "x-request-timeout"
        assert_logged(server, response.json()["request_id"])


@pytest.mark.usefixtures("_unchanged")
def test_bad_multipart_costs_its_row_or_its_request(
    http: httpx.Client, heads: dict[str, str], photos: Labelled
) -> None:
    path = f"/v1/{TENANT}/heads/image:predict"
    files = [("image", ("good.png", photos[0][0])), ("image", ("fake.png", SVG))]
    good, bad = accepted(http.post(path, files=files)).json()["predictions"]
    assert good["label"] in ("l0", "l1")
    assert bad["error"]["code"] == "INVALID_ARGUMENT"
    other = http.post(path, files=[("head", ("x", b"x"))])
    assert (other.status_code, other.json()["field"]) == (400, "head")


PART = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\n'
NO_FORMS = {
    "nothing": b"",
    "another boundary": b"--y\r\nnonsense",
    "no boundary": b"nonsense",
    "a boundary alone": b"--x\r\n",
    "no end": PART + b"a",
    "a header without a colon": b"--x\r\nContent-Disposition\r\n\r\na\r\n--x--\r\n",
    "a header that has not ended": b"--x\r\nContent-Disposition: form-data",
    "a name that is no token": b"--x\r\n\xff\0: a\r\n\r\na\r\n--x--\r\n",
    "no name": b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n",
    "no headers": b"--x\r\n\r\na\r\n--x--\r\n",
    "lines that end in half": PART.replace(b"\r\n", b"\r") + b"a\r--x--\r",
    "a part in base64": PART[:-2] + b"Content-Transfer-Encoding: base64\r\n\r\nYQ==\r\n--x--\r\n",
    "JSON": b'{"inputs": [{"text": "a"}]}',
}


@pytest.mark.parametrize("path", ["/predict", "/embed", Body.path, f"/v1/{TENANT}:embed"])
@pytest.mark.usefixtures("_unchanged")
def test_malformed_form_is_refused_on_every_path(
    http: httpx.Client, server: Running, path: str
) -> None:
    form = "multipart/form-data"
    cases = {name: (f"{form}; boundary=x", body) for name, body in NO_FORMS.items()}
    cases["a header that names no boundary"] = (form, PART + b"a\r\n--x--\r\n")
    cases["a header whose boundary is empty"] = (f"{form}; boundary=", PART + b"a\r\n--x--\r\n")
    cases["a header in capitals"] = ("Multipart/Form-Data; boundary=x", b"nonsense")
    cases["a boundary that is no ASCII"] = (f"{form}; boundary=\xe4", b"--\xe4\r\n")
    for name, (content_type, body) in cases.items():
        header = [(b"content-type", content_type.encode("latin-1"))]
        response = http.post(path, content=body, headers=header)
        assert response.status_code == 400, f"{name}: {response.text}"
        assert (response.json()["code"], response.json()["field"]) == ("INVALID_ARGUMENT", "body")
        assert_tells_no_secret(response.text)
        assert_logged(server, response.json()["request_id"])


def test_native_endpoints_take_forms_as_their_twins_do(
    http: httpx.Client, server: Running, heads: dict[str, str], photos: Labelled
) -> None:
    file = ("image", photos[0][0])
    (twin,) = accepted(http.post(f"/v1/{heads['image']}:predict", files=[file])).json()[
        "predictions"
    ]
    for head in ("bounds/image", heads["image"]):
        form = {"head": head, "top_k": "2"}
        reply = accepted(http.post("/predict", data=form, files=[file]))
        assert reply.json()["predictions"] == [twin]
    parts = (("tenant", b"bounds"), ("text", b"a"), ("text", b"caf\xe9"))
    texts = [(name, (None, value)) for name, value in parts]
    embedded = accepted(http.post("/embed", files=texts)).json()
    good, bad = embedded["embeddings"]
    assert good["embedding"]
    assert bad["error"]["field"] == "text"
    for name in ("heads", "conformal_level", "tenant"):
        refused = http.post("/predict", data={"head": "bounds/image", name: "1"}, files=[file])
        assert (refused.status_code, refused.json()["field"]) == (400, name)
        assert_logged(server, refused.json()["request_id"])


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/predict", b'{"head": "bounds/text", "inputs": [{"image": [255]}]}', "inputs[0].image"),
        ("/predict", b'{"head": "bounds/text", "inputs": [{"image": "a.jpg"}]}', "inputs[0].image"),
        ("/predict", b'{"head": "bounds/text", "inputs": {"text": "a"}}', "inputs"),
        ("/predict", b'{"head": "bounds/text", "inputs": [], "topk": 1}', "topk"),
        ("/predict", b'{"head": 5, "inputs": [{"text": "a"}]}', "head"),
        ("/embed", b'{"tenant": "bounds", "inputs": [{"text": 5}]}', "inputs[0].text"),
        ("/embed", b'{"tenant": "bounds", "inputs": [{"text": "a"}', "body"),
        ("/embed", b"[]", "body"),
        ("/embed", b'{"tenant": "\xff"}', "body"),
        ("/embed", b'{"tenant": "a", "tenant": "b"}', "tenant"),
        ("/predict", b'{"head": "bounds/text", "heads": []}', "heads"),
        ("/predict", b'{"top_k": ' + b"9" * 5000 + b"}", "top_k"),
    ],
)
def test_native_endpoints_speak_of_fields_as_their_twins_do(
    http: httpx.Client, server: Running, path: str, body: bytes, field: str
) -> None:
    response = http.post(path, content=body, headers={"content-type": Body.json})
    assert (response.status_code, response.json()["field"]) == (400, field), response.text
    assert_tells_no_secret(response.text)
    assert "Input should be" not in response.text
    assert_logged(server, response.json()["request_id"])


def test_native_endpoints_read_bodies_as_their_twins_do(
    http: httpx.Client, server: Running, heads: dict[str, str]
) -> None:
    body = b'{"head": "bounds/text", "inputs": [{"text": "a\\ud83d"}, {"text": "whole"}]}'
    header = {"content-type": Body.json}
    half, whole = accepted(http.post("/predict", content=body, headers=header)).json()[
        "predictions"
    ]
    assert half["error"]["field"] == "text"
    assert whole["label"]
    marked = accepted(http.post("/predict", content=b"\xef\xbb\xbf" + body, headers=header)).json()
    assert marked["predictions"][1]["label"] == whole["label"]
    array = http.post("/predict", content=b"[]", headers=header).json()
    assert array["detail"] == "body: must be a JSON object, is an array"
    assert "Traceback" not in server.log.read_text()


@pytest.mark.usefixtures("_unchanged")
def test_packed_bodies_are_taken_on_every_way_in(
    http: httpx.Client, heads: dict[str, str], photos: Labelled
) -> None:
    packed = {"content-type": Body.json, "content-encoding": "gzip"}
    plain = http.post(Body.path, json={"inputs": [{"text": "a"}]}).json()
    (row,) = plain["predictions"]
    for path in (Body.path, "/predict"):
        body = {"inputs": [{"text": "a"}]} | ({"head": heads["text"]} if path == "/predict" else {})
        content = gzip.compress(json.dumps(body).encode())
        response = accepted(http.post(path, content=content, headers=packed))
        assert response.json()["predictions"] == [row]
    form = httpx.Request("POST", "http://a", files={"image": photos[0][0]})
    packed = {"content-type": form.headers["content-type"], "content-encoding": "gzip"}
    path = f"/v1/{TENANT}/heads/image:predict"
    response = accepted(http.post(path, content=gzip.compress(form.read()), headers=packed))
    assert response.json()["predictions"][0]["label"] in ("l0", "l1")
    bomb = gzip.compress(bytes(100 << 20))
    for path in (Body.path, "/predict"):
        response = http.post(path, content=bomb, headers=packed | {"content-type": Body.json})
        assert (response.status_code, response.json()["field"]) == (413, "body"), path


@pytest.mark.usefixtures("_unchanged")
def test_path_or_headers_beyond_their_limit_are_refused(
    http: httpx.Client, server: Running
) -> None:
    long = http.get(f"/v1/{TENANT}/heads", params={"page_token": "x" * 60_000})
    assert (long.status_code, long.json()["field"]) == (414, "path")
    wide = http.get(f"/v1/{TENANT}/heads", headers={"x-much": "x" * 100_000})
    assert (wide.status_code, wide.json()["field"]) == (431, "headers")
    for response in (long, wide):
        assert_logged(server, response.json()["request_id"])


def test_plain_client_that_asks_for_more_than_it_takes_is_told_before_any_work(
    server: Running,
) -> None:
    request = extraction_pb2.EmbedRequest(
        tenant=TENANT, inputs=[image(noise_png(row)) for row in range(1024)]
    )
    with grpc.insecure_channel(server.grpc) as channel:
        stub = extraction_pb2_grpc.ExtractionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Embed(request, timeout=60)
        error = refusal(refused.value)
        assert (error.code, error.field, error.value) == ("INVALID_ARGUMENT", "inputs", "1024")
        digests = stub.Embed(
            extraction_pb2.EmbedRequest(
                tenant=TENANT, inputs=[request.inputs[0]] * int(error.limit)
            ),
            timeout=60,
        ).digests
        assert len(digests) == int(error.limit)
        del request.inputs[:-1]
        known = stub.Embed(request, timeout=60)
    assert known.timing.backbone_seconds > 0, "the last of them had been embedded"


def test_json_form_of_a_message_is_what_rest_takes(
    http: httpx.Client, heads: dict[str, str]
) -> None:
    request = prediction_pb2.PredictRequest(head=heads["text"], inputs=[text("a")])
    accepted(http.post(Body.path, content=json_body(request)))
