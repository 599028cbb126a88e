"""Tunings that choose their views: on a real network, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.store.view_digests import view_digests
from service.tuning.activation_files import read_layout
from tests.e2e.samples import digit_images
from tests.service.pictures import rows
from tests.service.server import HEAD
from tests.service.tunings import progress, server_on, until_tuning
from trunkline.digest import image_digest
from trunkline.v1 import common_pb2, heads_pb2

pytestmark = pytest.mark.tuning

BACKBONE = "efficientnet/lite0"
DIGITS = digit_images(16, classes=2)
CHOOSE = heads_pb2.HeadSpec(
    family="ridge",
    seed=3,
    fine_tune=heads_pb2.FineTune(strategy="last_block", max_epochs=2),
)


def stored(data: Path) -> set[str]:
    """Names of the activations that are kept."""
    files = (data / "activations").rglob("*.safetensors")
    return {name for path in files for name in read_layout(path)}


@pytest.mark.long
async def test_views_are_tried_when_they_are_made_and_a_restart_chooses_the_same(
    tmp_path: Path, cache_dir: Path
) -> None:
    straight, halted = tmp_path / "straight", tmp_path / "halted"
    digests = [image_digest(data) for data, _ in DIGITS]
    flips = {name for digest in digests for name in view_digests(digest, 3, flips=True)}
    reports = []
    async with server_on(BACKBONE, straight, cache_dir) as server:
        await server.create(keep_inputs=True)
        await server.add_rows(*rows(DIGITS))
        told = [training async for training in progress(server, CHOOSE)]
        assert told[-1].state == heads_pb2.TRAINING_STATE_SUCCEEDED, told[-1].error_message
        shares = [training.progress for training in told]
        assert shares == sorted(shares)
        epochs = [training.tuning for training in told if training.HasField("tuning")]
        assert {epoch.views for epoch in epochs} == {"none", "flips"}
        assert epochs[0].passes == 1
        assert len(epochs) <= epochs[0].most_passes == (2 * 5 + 2) + 5
        assert stored(straight) == {*digests, *flips}
        reports.append(await server.report())
        picture = common_pb2.Input(image=DIGITS[0][0])
        assert not (await server.predict(picture, average_views=3)).errors
    async with server_on(BACKBONE, halted, cache_dir) as server:
        await server.create(keep_inputs=True)
        await server.add_rows(*rows(DIGITS))
        training = await until_tuning(progress(server, CHOOSE))
    async with server_on(BACKBONE, halted, cache_dir) as server:
        request = heads_pb2.TrainHeadRequest(head=HEAD)
        handler = server.application.handlers["TrainHead"]
        replies = [reply.training async for reply in handler(request, server.call("T", request))]
        assert {reply.name for reply in replies} == {training.name}
        assert replies[-1].state == heads_pb2.TRAINING_STATE_SUCCEEDED, replies[-1].error_message
        reports.append(await server.report())
    one, other = (report.fine_tuning for report in reports)
    assert [trial.views for trial in one.tried] == ["flips", "crops"]
    assert one.tried[0].folds >= 1
    assert one.tried[1].reason.startswith("not tried")
    assert list(one.tried) == list(other.tried)
    assert (one.views, one.view_count) == (other.views, other.view_count)
    assert list(one.curve) == list(other.curve)


@pytest.mark.long
async def test_views_without_room_are_not_tried_and_the_tuning_goes_on(
    tmp_path: Path, cache_dir: Path
) -> None:
    room = 20 * 14 * 14 * 112 * 2  # of 16 examples, but not of their flips
    async with server_on(BACKBONE, tmp_path, cache_dir, activation_cache_bytes=room) as server:
        await server.create(keep_inputs=True)
        await server.add_rows(*rows(DIGITS))
        assert (await server.train(spec=CHOOSE)).state == heads_pb2.TRAINING_STATE_SUCCEEDED
        tuning = (await server.report()).fine_tuning
        assert (tuning.views, tuning.view_count) == ("none", 0)
        assert "activation_cache_bytes" in tuning.tried[0].reason
        assert stored(tmp_path) == {image_digest(data) for data, _ in DIGITS}
