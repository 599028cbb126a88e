"""Uploads send no byte the server knows, and go on where they stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from tests.e2e.conftest import TEXTS
from tests.e2e.processes import Running
from tests.e2e.samples import Labelled, noise_png
from tests.e2e.transports import METHODS, Grpc, Transport, accepted, prediction_rows, text
from trunkline import Client, Image, Prediction, Text, UploadProgress
from trunkline.digest import image_digest, text_digest
from trunkline.v1 import heads_pb2


def test_second_upload_sends_only_what_is_new(client: Client, tenant: str) -> None:
    head = f"{tenant}/texts"
    client.create_head(head, TEXTS)
    items = [(f"{tenant} says {i}", f"label-{i % 2}") for i in range(20)]
    first = client.upload(head, items)
    assert (first.added, first.known) == (20, 0)
    assert first.sent_bytes == sum(len(words) for words, _ in items)
    more = [*items, (f"{tenant} says more", "label-0")]
    seen: list[UploadProgress] = []
    second = client.upload(head, more, seen.append)
    assert (second.added, second.unchanged, second.known) == (1, 20, 20)
    assert second.sent_bytes == len(more[-1][0])
    assert seen[-1].sent_bytes == second.sent_bytes


def test_another_head_of_the_tenant_takes_digests_for_known_inputs(
    client: Client, tenant: str
) -> None:
    items = [(f"{tenant} says {i}", f"label-{i % 2}") for i in range(8)]
    for name, sent in (("one", sum(len(words) for words, _ in items)), ("two", 0)):
        client.create_head(f"{tenant}/{name}", TEXTS)
        upload = client.upload(f"{tenant}/{name}", items)
        assert (upload.added, upload.sent_bytes) == (8, sent)


def test_another_tenant_learns_nothing_of_what_was_sent(client: Client, tenant: str) -> None:
    words = f"a secret of {tenant}"
    for name in (tenant, f"{tenant}-spy"):
        client.create_head(f"{name}/texts", TEXTS)
    client.upload(f"{tenant}/texts", [(words, "a")])
    digest = text_digest(words)
    assert client.find_missing(f"{tenant}/texts", [digest]) == set()
    assert client.find_missing(f"{tenant}-spy/texts", [digest]) == {digest}


def test_missing_inputs_are_named(transport: Transport, tenant: str) -> None:
    parent = f"tenants/{tenant}"
    creation = heads_pb2.CreateHeadRequest(parent=parent, head_id="h", backbone=TEXTS)
    head = transport.call("CreateHead", creation).head.name
    transport.add(head, [(text("known"), None)])
    digests = [text_digest("unknown"), text_digest("known"), text_digest("unknown")]
    request = heads_pb2.FindMissingInputsRequest(head=head, digests=digests)
    assert list(transport.call("FindMissingInputs", request).missing) == [digests[0]]


def test_interrupted_upload_goes_on_where_it_stopped(
    server: Running, client: Client, tenant: str
) -> None:
    head = f"{tenant}/cut"
    client.create_head(head, TEXTS)
    items = [(f"{tenant} line {i}", f"label-{i % 2}") for i in range(300)]
    stored = 128

    class Interrupted(Exception):
        pass

    def cut() -> Iterator[bytes]:
        """One whole message, which the server has stored before the line is cut."""
        yield heads_pb2.AddExamplesRequest(
            head=f"tenants/{tenant}/heads/cut",
            examples=[
                heads_pb2.NewExample(input=text(words), label=label)
                for words, label in items[:stored]
            ],
        ).SerializeToString()
        while client.get_head(head).example_count < stored:
            pass
        raise Interrupted

    way = Grpc(server.grpc)
    with pytest.raises(grpc.RpcError):
        way.channel.stream_unary(METHODS["AddExamples"].path)(cut(), timeout=60)
    way.close()
    assert client.get_head(head).example_count == stored
    upload = client.upload(head, items)
    assert (upload.added, upload.unchanged, upload.known) == (300 - stored, stored, stored)
    assert upload.sent_bytes == sum(len(words) for words, _ in items[stored:])
    assert client.get_head(head).example_count == 300


def test_repeated_input_is_sent_once_and_its_last_label_wins(client: Client, tenant: str) -> None:
    head = f"{tenant}/twice"
    client.create_head(head, TEXTS)
    words = f"{tenant} again"
    upload = client.upload(head, [(words, "first"), (words, "last")])
    assert upload.sent_bytes == len(words)
    (example,) = client.list_examples(head)
    assert example.label == "last"


def test_unreadable_file_costs_its_own_row(client: Client, tenant: str, tmp_path: Path) -> None:
    head = f"{tenant}/files"
    client.create_head(head, "efficientnet/lite0")
    good = tmp_path / "good.png"
    good.write_bytes(noise_png(1))
    upload = client.upload(
        head, [(Image.open(tmp_path / "gone.png"), "a"), (Image.open(good), "a")]
    )
    assert (upload.added, upload.failed) == (1, 1)
    assert upload.failures[0].row == 0


def test_kept_inputs_are_marked_on_their_examples(client: Client, tenant: str) -> None:
    client.create_head(f"{tenant}/keeps", TEXTS, keep_inputs=True)
    client.create_head(f"{tenant}/drops", TEXTS)
    for name, kept in (("keeps", True), ("drops", False)):
        client.upload(f"{tenant}/{name}", [(Text("the same text"), "a")])
        (example,) = client.list_examples(f"{tenant}/{name}")
        assert example.has_input is kept


def test_multipart_files_are_stored_predicted_and_corrected(
    http: httpx.Client, client: Client, tenant: str, photos: Labelled
) -> None:
    client.create_head(f"{tenant}/photos", "efficientnet/lite0")
    path = f"/v1/tenants/{tenant}/heads/photos"
    files = [("image", (f"{i}.png", data)) for i, (data, _) in enumerate(photos)]
    labels = [label for _, label in photos]
    stored = accepted(http.post(f"{path}/examples", files=files, data={"label": labels})).json()
    assert stored["added"] == len(photos)
    training = client.train(f"{tenant}/photos")
    assert training.version == 1
    response = accepted(http.post(f"{path}:predict", files=files[:3], data={"top_k": "1"}))
    rows = prediction_rows(response).rows
    direct = client.predict(f"{tenant}/photos", [Image(data) for data, _ in photos[:3]], top_k=1)
    assert [row.digest for row in rows] == [image_digest(data) for data, _ in photos[:3]]
    for row, expected in zip(rows, direct, strict=True):
        assert isinstance(expected, Prediction)
        assert row.scores == pytest.approx(dict(expected.scores))
    fed = http.post(
        f"{path}:feedback", files=files[:1], data={"label": [labels[0]], "id": ["form-1"]}
    )
    assert accepted(fed).json()["ids"] == ["form-1"]


def test_multipart_labels_must_match_the_files(
    http: httpx.Client, client: Client, tenant: str
) -> None:
    client.create_head(f"{tenant}/photos", "efficientnet/lite0")
    files = [("image", ("a.png", noise_png(i))) for i in range(2)]
    path = f"/v1/tenants/{tenant}/heads/photos/examples"
    response = http.post(path, files=files, data={"label": ["only-one"]})
    assert response.status_code == 400
    assert response.json()["field"] == "label"
    assert client.get_head(f"{tenant}/photos").example_count == 0
