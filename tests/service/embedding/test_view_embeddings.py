"""Views of images: made once, stored, used in training, deleted with their image."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Connection, select

from service.embedding import view_embeddings
from service.store import schema
from service.store.view_digests import view_digest
from tests.service.pictures import PICTURES, embedded, rows
from tests.service.server import HEAD, InProcessServer, StartServer
from tests.service.tiny_backbone import TinyImageBackbone
from trunkline.digest import image_digest
from trunkline.v1 import common_pb2, heads_pb2

VIEWS = 3
SPEC = heads_pb2.HeadSpec(family="ridge", augment=heads_pb2.Augmentation(views=VIEWS))


def stored_digests(connection: Connection) -> set[str]:
    return set(connection.scalars(select(schema.embeddings.c.digest)))


@pytest.fixture
async def gallery(start_server: StartServer) -> AsyncIterator[InProcessServer]:
    async with start_server(backbone=TinyImageBackbone()) as opened:
        yield opened


async def digests_in(server: InProcessServer) -> set[str]:
    found: set[str] = await server.application._database.read(stored_digests)
    return found


async def test_views_are_embedded_with_their_image_and_never_again(
    gallery: InProcessServer,
) -> None:
    await gallery.create(spec=SPEC)
    await gallery.add_rows(*rows(PICTURES))
    assert embedded(gallery) == len(PICTURES) * (1 + VIEWS)
    names = {view_digest(image_digest(data), i) for data, _ in PICTURES for i in range(VIEWS)}
    assert names < await digests_in(gallery)
    await gallery.add_rows(*rows(PICTURES))
    await gallery.train()
    assert embedded(gallery) == len(PICTURES) * (1 + VIEWS)
    augmentation = (await gallery.report()).augmentation
    assert (augmentation.views, augmentation.augmented_examples) == (VIEWS, len(PICTURES))


async def test_views_of_a_training_are_gathered_off_the_event_loop(
    gallery: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gallery.create(spec=SPEC)
    await gallery.add_rows(*rows(PICTURES))
    threads: set[threading.Thread] = set()

    def watched(digest: str, index: int) -> str:
        threads.add(threading.current_thread())
        return view_digest(digest, index)

    monkeypatch.setattr(view_embeddings, "view_digest", watched)
    await gallery.train()
    assert threads
    assert threading.current_thread() not in threads


async def test_head_without_augmentation_has_no_views(gallery: InProcessServer) -> None:
    await gallery.create()
    await gallery.add_rows(*rows(PICTURES))
    await gallery.train()
    assert embedded(gallery) == len(PICTURES)
    assert not (await gallery.report()).HasField("augmentation")


async def test_training_makes_missing_views_of_kept_inputs(gallery: InProcessServer) -> None:
    await gallery.create(keep_inputs=True)
    await gallery.add_rows(*rows(PICTURES))
    await gallery.train(spec=SPEC)
    assert (await gallery.report()).augmentation.augmented_examples == len(PICTURES)
    count = embedded(gallery)
    await gallery.train(spec=SPEC)
    assert embedded(gallery) == count == len(PICTURES) * (1 + VIEWS)


async def test_image_without_views_is_asked_for_again(gallery: InProcessServer) -> None:
    await gallery.create()
    await gallery.add_rows(*rows(PICTURES[:1]))
    await gallery.create("tenants/acme/heads/other", spec=SPEC)
    digest = image_digest(PICTURES[0][0])
    for head, missing in ((HEAD, []), ("tenants/acme/heads/other", [digest])):
        request = heads_pb2.FindMissingInputsRequest(head=head, digests=[digest])
        assert list((await gallery.ask("FindMissingInputs", request)).missing) == missing
    await gallery.add_rows(*rows(PICTURES[:1]), head="tenants/acme/heads/other")
    assert list((await gallery.ask("FindMissingInputs", request)).missing) == []


async def test_example_goes_without_views_where_its_image_is_not_known(
    gallery: InProcessServer,
) -> None:
    await gallery.create()
    await gallery.add_rows(*rows(PICTURES))
    await gallery.create("tenants/acme/heads/other", spec=SPEC)
    with_image = rows(PICTURES[:4])
    by_digest = [
        heads_pb2.NewExample(input=common_pb2.Input(digest=image_digest(data)), label=label)
        for data, label in PICTURES[4:]
    ]
    await gallery.add_rows(*with_image, *by_digest, head="tenants/acme/heads/other")
    await gallery.train("tenants/acme/heads/other")
    augmentation = (await gallery.report("tenants/acme/heads/other")).augmentation
    assert augmentation.augmented_examples == 4


@pytest.mark.parametrize("method", ["DeleteExamples", "ForgetExamples"])
async def test_views_go_with_their_image(gallery: InProcessServer, method: str) -> None:
    await gallery.create(spec=SPEC)
    await gallery.add_rows(*rows(PICTURES))
    digest = image_digest(PICTURES[0][0])
    kinds: dict[str, Any] = {
        "DeleteExamples": heads_pb2.DeleteExamplesRequest,
        "ForgetExamples": heads_pb2.ForgetExamplesRequest,
    }
    before = await digests_in(gallery)
    await gallery.ask(method, kinds[method](head=HEAD, digests=[digest]))
    gone = before - await digests_in(gallery)
    assert gone == {digest, *(view_digest(digest, i) for i in range(VIEWS))}


async def test_bad_image_costs_its_own_row_alone(gallery: InProcessServer) -> None:
    await gallery.create(spec=SPEC)
    bad = heads_pb2.NewExample(input=common_pb2.Input(image=PICTURES[0][0][:60]), label="red")
    response = await gallery.add_rows(bad, *rows(PICTURES[:2]))
    assert (response.added, response.failed) == (2, 1)


def test_digests_of_views_are_their_own() -> None:
    digests = [image_digest(b"a"), image_digest(b"b")]
    names = {view_digest(d, i, r) for d in digests for i in range(32) for r in (1, 2)}
    assert len(names) == 128
