"""Predictions averaged over views of each image."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, select, update

import adapters
from models import RawInput
from models.views import make_flips, make_views
from service.errors import InvalidRequest
from service.requests.tensors import to_tensor
from service.store import schema
from tests.service.pictures import PICTURES, embedded, picture, rows
from tests.service.server import HEAD, LABELS, InProcessServer, StartServer, texts
from tests.service.tail_heads import database_of, in_order
from tests.service.tiny_backbone import FINGERPRINT, TinyImageBackbone
from trunkline.digest import image_digest
from trunkline.v1 import common_pb2, heads_pb2

pytestmark = pytest.mark.costly

SPEC = heads_pb2.HeadSpec(family="ridge", novelty=heads_pb2.Novelty(false_alarm_rate=0.3))
VIEWS = 3


@pytest.fixture
async def gallery(start_server: StartServer) -> AsyncIterator[InProcessServer]:
    async with start_server(backbone=TinyImageBackbone(), max_rows_per_request=20) as opened:
        await opened.create(spec=SPEC)
        await opened.add_rows(*rows(PICTURES))
        await opened.train()
        yield opened


def images(*pictures: bytes) -> list[common_pb2.Input]:
    return [common_pb2.Input(image=data) for data in pictures]


async def test_probabilities_are_the_mean_over_image_and_views_and_the_rest_is_the_images_own(
    gallery: InProcessServer,
) -> None:
    one, other = picture("red", 7), picture("blue", 8)
    plain = (await gallery.predict(*images(one, other), conformal_level=0.8)).predictions[0]
    averaged = await gallery.predict(*images(one, other), average_views=VIEWS, conformal_level=0.8)
    (group,) = averaged.predictions
    head = await gallery.exported()
    backbone = TinyImageBackbone()
    for row, data in enumerate((one, other)):
        views: list[RawInput] = [data, *make_views(data, VIEWS)]
        vectors = backbone.forward([backbone.preprocess(view) for view in views])
        expected = head.probabilities(vectors).mean(axis=0)
        np.testing.assert_allclose(in_order(group)[row], expected, atol=1e-5)
    assert (group.novelty, group.set_sizes) == (plain.novelty, plain.set_sizes)
    assert list(averaged.digests) == [image_digest(one), image_digest(other)]


async def test_a_head_of_images_without_up_and_down_looks_at_their_flips(
    gallery: InProcessServer,
) -> None:
    flips = heads_pb2.FineTune(views=3, flips=True)
    await gallery.train(spec=heads_pb2.HeadSpec(family="ridge", fine_tune=flips))
    (group,) = (await gallery.predict(*images(picture("red", 7)), average_views=3)).predictions
    head, backbone = await gallery.exported(), TinyImageBackbone()
    views: list[RawInput] = [picture("red", 7), *make_flips(picture("red", 7), 3)]
    vectors = backbone.forward([backbone.preprocess(view) for view in views])
    expected = head.probabilities(vectors).mean(axis=0)
    np.testing.assert_allclose(in_order(group)[0], expected, atol=1e-5)
    with pytest.raises(InvalidRequest, match="at most 3") as caught:
        await gallery.predict(*images(picture("red", 7)), average_views=4)
    assert (caught.value.field, caught.value.value) == ("average_views", 4)


async def setting(gallery: InProcessServer, views: int, **spec: Any) -> None:
    message = heads_pb2.HeadSpec(family="ridge", average_views=views, **spec)
    await gallery.ask("UpdateHead", heads_pb2.UpdateHeadRequest(name=HEAD, spec=message))


async def test_a_head_averages_over_as_many_views_as_it_is_set_to_and_a_request_overrules_it(
    gallery: InProcessServer,
) -> None:
    """At once, without a training; with their views there may be more rows than in a request."""
    plain = await gallery.predict(*images(picture("red", 7)))
    asked = await gallery.predict(*images(picture("red", 7)), average_views=VIEWS)
    await setting(gallery, VIEWS)
    assert (await gallery.head()).spec.average_views == VIEWS
    silent = await gallery.predict(*images(picture("red", 7)))
    assert silent.predictions == asked.predictions
    assert silent.predictions != plain.predictions
    for views, expected in ((0, plain), (VIEWS, asked)):
        told = await gallery.predict(*images(picture("red", 7)), average_views=views)
        assert told.predictions == expected.predictions
    many = await gallery.predict(*images(*[picture("red", 7)] * 20))
    assert not many.errors
    np.testing.assert_allclose(
        in_order(many.predictions[0]), in_order(asked.predictions[0]).repeat(20, axis=0), atol=1e-6
    )
    await setting(gallery, 0)
    off = await gallery.predict(*images(picture("red", 7)))
    assert off.predictions == plain.predictions


async def test_a_head_that_averages_answers_what_is_no_image_by_itself(
    gallery: InProcessServer,
) -> None:
    known = common_pb2.Input(digest=image_digest(picture("red", 0)))
    plain = await gallery.predict(known)
    await setting(gallery, VIEWS)
    mixed = await gallery.predict(known, *images(picture("red", 7), b"no image"))
    assert [error.row for error in mixed.errors] == [2]
    np.testing.assert_allclose(
        in_order(mixed.predictions[0])[0], in_order(plain.predictions[0])[0], atol=1e-6
    )


async def test_a_version_on_flips_looks_at_as_many_as_there_are(gallery: InProcessServer) -> None:
    flips = heads_pb2.FineTune(flips=True)
    await gallery.train(spec=heads_pb2.HeadSpec(family="ridge", fine_tune=flips))
    asked = await gallery.predict(*images(picture("red", 7)), average_views=3)
    await setting(gallery, 8)
    silent = await gallery.predict(*images(picture("red", 7)))
    assert silent.predictions == asked.predictions


async def test_a_version_whose_folds_chose_flips_looks_at_flips(gallery: InProcessServer) -> None:
    crops = await gallery.predict(*images(picture("red", 7)), average_views=3)
    await database_of(gallery).write(_choose_flips)
    await setting(gallery, VIEWS)  # which reads the version anew
    flips = await gallery.predict(*images(picture("red", 7)))
    assert flips.predictions != crops.predictions
    exported = await gallery.ask("ExportHead", heads_pb2.ExportHeadRequest(name=HEAD))
    head, backbone = adapters.Head.from_safetensors(exported.safetensors), TinyImageBackbone()
    views: list[RawInput] = [picture("red", 7), *make_flips(picture("red", 7), 3)]
    expected = head.probabilities(
        backbone.forward([backbone.preprocess(view) for view in views])
    ).mean(axis=0)
    np.testing.assert_allclose(in_order(flips.predictions[0])[0], expected, atol=1e-5)
    for words in (
        "Views it was fine-tuned on beside each image: 3 flips, chosen on the folds",
        "Tried: 3 crops, not tried: there is no room",
        "average over 3 flips, too: 90.0% accuracy and 0.300 log-loss, at 4 times the cost",
    ):
        assert words in exported.model_card


def _choose_flips(connection: Connection) -> None:
    """Writes into the report what a tuning that chose flips would have."""
    (found,) = connection.execute(select(schema.versions.c.report)).scalars()
    estimate = adapters.report.Estimate("5-fold cross-validation", 0.9, 0.8, 0.95, 0.3)
    tried = adapters.report.ViewTrial("crops", 3, reason="not tried: there is no room")
    tuned = {"views": "flips", "view_count": 3, "tried": [asdict(tried)]}
    report = json.loads(found) | {"fine_tuning": tuned | {"averaged": asdict(estimate)}}
    connection.execute(update(schema.versions).values(report=json.dumps(report)))


async def test_what_a_spec_leaves_unsaid_about_averaging_stays(gallery: InProcessServer) -> None:
    await setting(gallery, VIEWS)
    spec = heads_pb2.HeadSpec(family="lda")
    await gallery.ask("UpdateHead", heads_pb2.UpdateHeadRequest(name=HEAD, spec=spec))
    found = (await gallery.head()).spec
    assert (found.family, found.average_views) == ("lda", VIEWS)
    await gallery.train(spec=heads_pb2.HeadSpec(family="ridge"))
    assert (await gallery.head()).spec.average_views == VIEWS
    with pytest.raises(InvalidRequest, match="UpdateHead") as caught:
        await gallery.train(spec=heads_pb2.HeadSpec(average_views=1))
    assert (caught.value.field, caught.value.value) == ("spec.average_views", 1)


async def test_views_are_computed_once_and_then_cached(gallery: InProcessServer) -> None:
    before = embedded(gallery)
    for _ in range(2):
        await gallery.predict(*images(picture("red", 7)), average_views=VIEWS)
    assert embedded(gallery) == before + 1 + VIEWS
    await gallery.predict(*images(picture("red", 7)), average_views=VIEWS + 1)
    assert embedded(gallery) == before + 2 + VIEWS


async def test_row_without_an_image_of_its_own_fails_alone(gallery: InProcessServer) -> None:
    vector = common_pb2.Embedding(
        fingerprint=FINGERPRINT, vector=to_tensor(np.zeros(4, np.float32))
    )
    inputs = [
        *images(picture("red", 0), b"no image"),
        common_pb2.Input(digest=image_digest(picture("red", 0))),
        common_pb2.Input(embedding=vector),
    ]
    response = await gallery.predict(*inputs, average_views=1)
    assert list(response.predictions[0].rows) == [0]
    found = {error.row: (error.code, error.field) for error in response.errors}
    assert found[2] == found[3] == ("INVALID_ARGUMENT", "average_views")
    assert found[1][0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("views", "inputs", "field", "limit"),
    [(33, 1, "average_views", 32), (4, 5, "inputs", 4)],
)
async def test_more_views_than_there_are_or_fit_are_refused(
    gallery: InProcessServer, views: int, inputs: int, field: str, limit: int
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await gallery.predict(*images(*[picture("red", 0)] * inputs), average_views=views)
    assert (caught.value.field, caught.value.limit) == (field, limit)


async def test_texts_have_no_views(server: InProcessServer) -> None:
    await server.create()
    await server.add(LABELS)
    await server.train()
    with pytest.raises(InvalidRequest, match="only images have views") as caught:
        await server.predict(*texts("red one"), average_views=2)
    assert (caught.value.field, caught.value.value) == ("average_views", 2)
    spec = heads_pb2.HeadSpec(average_views=2)
    for change in (
        server.create("tenants/acme/heads/other", spec=spec),
        server.ask("UpdateHead", heads_pb2.UpdateHeadRequest(name=HEAD, spec=spec)),
    ):
        with pytest.raises(InvalidRequest, match="only images have views") as caught:
            await change
        assert (caught.value.field, caught.value.value) == ("spec.average_views", 2)
