"""Advice over both transports, on real backbones."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import httpx
import numpy as np
import psutil
import pytest

from tests.e2e.conftest import IMAGES, TEXTS
from tests.e2e.processes import Running
from tests.e2e.samples import Labelled, digit_images
from tests.e2e.transports import METHODS, Grpc, Refused, Transport, image, text
from trunkline import Client, Pixels, Verdict
from trunkline.digest import image_digest
from trunkline.v1 import advice_pb2, common_pb2

SECONDS = 150.0


def request(
    tenant: str, rows: list[tuple[common_pb2.Input, str]], seed: int = 0
) -> advice_pb2.AdviseRequest:
    examples = [advice_pb2.LabelledInput(input=item, label=label) for item, label in rows]
    return advice_pb2.AdviseRequest(parent=f"tenants/{tenant}", examples=examples, seed=seed)


def test_digits_are_advised_on_row_by_row(transport: Transport, tenant: str) -> None:
    rows = [(image(data), label) for data, label in digit_images(60)]
    rows += [(image(b"no image"), "0"), (text(""), "1"), (rows[0][0], "2")]
    reply = transport.call("Advise", request(tenant, rows), SECONDS)
    assert [error.row for error in reply.errors] == [60, 61]
    assert reply.failed == 2
    advice = reply.advice
    assert advice.example_count == 61
    accuracies = {option.name: option.estimate.accuracy for option in advice.options}
    assert accuracies.keys() == {"majority", "direct", IMAGES}
    assert max(accuracies["direct"], accuracies[IMAGES]) > 0.9
    assert advice.recommended in ("direct", IMAGES)
    assert advice.near_duplicates[0].digest == image_digest(digit_images(1)[0][0])
    assert not advice.fine_tuning


def test_texts_are_advised_on(
    transport: Transport, tenant: str, sentences: list[tuple[str, str]]
) -> None:
    rows = [(text(words), label) for words, label in sentences]
    advice = transport.call("Advise", request(tenant, rows, seed=1), SECONDS).advice
    assert {option.name for option in advice.options} == {"majority", "direct", TEXTS}
    assert advice.verdict != advice_pb2.VERDICT_UNSPECIFIED
    assert advice.summary


def test_images_and_texts_do_not_mix(transport: Transport, tenant: str) -> None:
    rows = [(image(digit_images(1)[0][0]), "0"), (text("a text"), "1")]
    with pytest.raises(Refused) as refused:
        transport.call("Advise", request(tenant, rows))
    assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "examples")
    assert "row 1 is of kind text" in str(refused.value)


def test_too_little_is_refused(transport: Transport, tenant: str) -> None:
    for rows in ([], [(text("one"), "a")], [(text(f"{i}"), "a") for i in range(9)]):
        with pytest.raises(Refused) as refused:
            transport.call("Advise", request(tenant, rows))
        assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "examples")


def test_a_stream_without_a_message_is_refused(server: Running) -> None:
    with pytest.raises(Refused) as refused:
        Grpc(server.grpc).exchange(METHODS["Advise"], [])
    assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "parent")


def test_files_are_advised_on(http: httpx.Client, tenant: str) -> None:
    files: list[tuple[str, tuple[str, bytes]]] = []
    data: dict[str, list[str]] = {"label": []}
    for number, (picture, label) in enumerate(digit_images(24, classes=2)):
        files.append(("image", (f"{number}.png", picture)))
        data["label"].append(label)
    reply = http.post(f"/v1/tenants/{tenant}:advise", files=files, data=data)
    assert reply.status_code == 200, reply.text
    assert reply.json()["advice"]["example_count"] == 24


def test_the_client_streams_images_of_many_sizes(client: Client, tenant: str) -> None:
    generator = np.random.default_rng(0)
    items = []
    for number in range(24):
        height, width = (int(side) for side in generator.integers(20, 60, 2))
        pixels = generator.integers(0, 90, (height, width, 3)).astype(np.uint8)
        pixels[..., number % 2] += 150
        items.append((Pixels(pixels), ("red", "green")[number % 2]))
    advice = client.advise(tenant, items)
    assert advice.verdict in (Verdict.EITHER, Verdict.TRANSFER, Verdict.DIRECT)
    assert advice.best.estimate.accuracy > 0.9
    assert list(client.list_heads(tenant)) == []


def test_when_the_client_leaves_the_work_ends(
    server: Running, tenant: str, photos: Labelled
) -> None:
    rows = [(image(data), label) for data, label in photos]
    more = threading.Event()
    left = threading.Event()

    def messages() -> Iterator[bytes]:
        yield request(tenant, rows).SerializeToString()
        more.set()
        left.wait(SECONDS)

    transport = Grpc(server.grpc)
    method = METHODS["Advise"]
    call = transport.channel.stream_unary(method.path, None, method.response.FromString).future(
        messages()
    )
    assert more.wait(SECONDS)
    call.cancel()
    left.set()
    assert call.code() is grpc.StatusCode.CANCELLED
    transport.close()
    # The tenant's place is free again, at the latest when the client tries again.
    with server.client() as client:
        assert client.advise(tenant, photos[:12]).example_count == 12
    workers = [child.cmdline() for child in psutil.Process(server.pid).children()]
    assert not any("service.advice.worker" in words for words in workers)
