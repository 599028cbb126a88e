from typing import Any

import grpc
import pytest

import trunkline
from tests.trunkline.recorded_heads import tuning
from tests.trunkline.recording import FINGERPRINT, Recorder, Server
from tests.trunkline.steps import TEXTS, trained
from trunkline import AsyncClient, Client, FineTune, HeadSpec, Training
from trunkline.v1 import heads_pb2
from trunkline.wire.reading import read

GRADUAL = HeadSpec(fine_tune=FineTune("gradual", 5, learning_rate=0.001, rate_decay=0.5, views=4))
HEAD = "tenants/acme/heads/mood"


def tuned(client: Client, spec: HeadSpec = GRADUAL) -> list[Training]:
    """Trains acme/mood by this spec; returns the progress that was reported."""
    client.create_head("acme/mood", "minilm/l6-v2", spec, keep_inputs=True)
    client.add_examples("acme/mood", TEXTS)
    seen: list[Training] = []
    client.train("acme/mood", on_progress=seen.append)
    return seen


def test_how_to_fine_tune_comes_back_as_it_was_given(client: Client) -> None:
    assert client.create_head("acme/mood", "minilm/l6-v2", GRADUAL).spec == GRADUAL


@pytest.mark.parametrize("strategy", ["", "none"])
def test_no_fine_tuning_is_none_however_the_server_says_it(
    client: Client, recorder: Recorder, strategy: str
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    recorder.heads[HEAD].spec.fine_tune.strategy = strategy
    assert client.get_head("acme/mood").spec == HeadSpec()


def test_what_the_server_leaves_out_of_fine_tuning_is_standard(
    client: Client, recorder: Recorder
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    recorder.heads[HEAD].spec.fine_tune.strategy = "tail"
    assert client.get_head("acme/mood").spec.fine_tune == FineTune("tail")


def test_a_training_reports_how_far_fine_tuning_is(client: Client) -> None:
    queued, running, done = tuned(client)
    assert (queued.tuning, done.tuning) == (None, None)
    now = running.tuning
    assert now is not None
    assert (now.fold, now.folds, now.epoch, now.epochs) == (2, 5, 3, 12)
    assert (now.loss, now.validation_loss, now.validation_accuracy) == (0.5, 0.25, 0.875)
    assert now.remaining_seconds == 94


def test_epochs_on_all_examples_have_no_fold_and_no_validation() -> None:
    message = heads_pb2.Training(state=heads_pb2.TRAINING_STATE_RUNNING)
    message.tuning.CopyFrom(tuning(fold=0, validation_loss=None, validation_accuracy=None))
    now = read(Training, message).tuning
    assert now is not None
    assert (now.fold, now.validation_loss, now.validation_accuracy) == (None, None, None)


def test_a_version_shows_its_tail(client: Client) -> None:
    tuned(client)
    client.train("acme/mood", HeadSpec())
    newest, first = client.versions("acme/mood")
    assert newest.tail is None
    assert first.tail is not None
    assert (first.tail.strategy, first.tail.size_bytes) == ("gradual", 4_200_000)
    assert first.tail.blocks == ("blocks.3", "blocks.4")
    assert client.get_version("acme/mood", 1) == first
    assert client.get_version("acme/mood") == newest


def test_a_report_has_both_ways_side_by_side(client: Client) -> None:
    tuned(client)
    found = client.report("acme/mood").fine_tuning
    assert found is not None
    assert found.without_tail is not None
    assert found.with_tail is not None
    assert (found.used, found.without_tail.accuracy, found.with_tail.accuracy) == (True, 0.85, 0.9)
    assert (found.seconds_without, found.seconds_with) == (0.5, 75.25)
    assert (found.bytes_without, found.bytes_with) == (12_000, 4_200_000)
    assert [(row.epoch, row.validation_accuracy) for row in found.curve] == [
        (1, 0.8),
        (2, 0.9),
        (3, 0.85),
    ]


def test_views_to_average_over_are_asked_for(client: Client, recorder: Recorder) -> None:
    trained(client)
    client.predict("acme/mood", ["good"], average_views=4)
    client.predict("acme/mood", ["good"])
    assert [row.average_views for row in recorder.asked("Predict")] == [4, 0]


@pytest.mark.parametrize(("views", "sizes"), [(1, [64, 64, 2]), (31, [4] * 32 + [2])])
def test_views_count_as_rows_of_a_request(
    client: Client, recorder: Recorder, views: int, sizes: list[int]
) -> None:
    trained(client)
    texts = [f"text {number}" for number in range(130)]
    assert len(client.predict("acme/mood", texts, average_views=views)) == 130
    assert [len(request.inputs) for request in recorder.asked("Predict")] == sizes


def test_training_on_another_backbone_moves_the_head(client: Client) -> None:
    tuned(client)
    assert client.load_backbone("torchvision/resnet18").fingerprint == "cd" * 32
    client.train("acme/mood", backbone="torchvision/resnet18")
    head = client.get_head("acme/mood")
    assert (head.backbone, head.fingerprint) == ("torchvision/resnet18", "cd" * 32)
    with pytest.raises(trunkline.FailedPrecondition) as caught:
        client.train("acme/mood", backbone="torchvision/resnet50")
    assert caught.value.field == "backbone"


def test_training_without_a_backbone_stays_on_the_heads_own(
    client: Client, recorder: Recorder
) -> None:
    tuned(client)
    assert recorder.asked("TrainHead")[0].backbone == ""


def test_backbones_say_where_tails_begin(client: Client) -> None:
    first, _ = client.backbones()
    assert (first.cut, first.tail_blocks) == ("blocks.3", ("blocks.3", "blocks.4"))


def test_backbones_are_loaded_and_unloaded(client: Client) -> None:
    assert client.load_backbone("torchvision/resnet18").ready
    left = client.unload_backbone("efficientnet/lite0")
    assert {row.name for row in left} == {"minilm/l6-v2", "torchvision/resnet18"}
    assert left == client.backbones()
    with pytest.raises(trunkline.NotFound):
        client.unload_backbone("efficientnet/lite0")


def test_loading_has_time_to_export_unless_a_timeout_is_named(
    client: Client, recorder: Recorder
) -> None:
    left: list[float] = []

    def record(_: Any, context: grpc.ServicerContext) -> None:
        left.append(context.time_remaining())

    recorder.hooks["LoadBackbone"] = [record, record]
    recorder.hooks["UnloadBackbone"] = [record]
    client.load_backbone("torchvision/resnet18")
    client.load_backbone("torchvision/resnet18", timeout=20)
    client.unload_backbone("torchvision/resnet18")
    unnamed, named, other = left
    assert 500 < unnamed < 700
    assert named < 30
    assert other < 30


async def test_loading_has_time_to_export_on_an_event_loop_too(
    server: Server, recorder: Recorder
) -> None:
    left: list[float] = []

    def note(_: Any, context: grpc.ServicerContext) -> None:
        left.append(context.time_remaining())

    recorder.hooks["LoadBackbone"] = [note, note]
    async with AsyncClient(server.address, timeout=10) as client:
        await client.load_backbone("torchvision/resnet18")
        await client.load_backbone("torchvision/resnet18", timeout=20)
    unnamed, named = left
    assert 500 < unnamed < 700
    assert named < 30


async def test_the_client_with_an_event_loop_does_the_same(
    server: Server, recorder: Recorder
) -> None:
    async with AsyncClient(server.address, timeout=10) as client:
        await client.create_head("acme/mood", "minilm/l6-v2", GRADUAL, keep_inputs=True)
        await client.add_examples("acme/mood", TEXTS)
        seen: list[Training] = []
        await client.train("acme/mood", backbone="minilm/l6-v2", on_progress=seen.append)
        assert [row.tuning is not None for row in seen] == [False, True, False]
        assert recorder.asked("TrainHead")[0].backbone == "minilm/l6-v2"
        assert (await client.get_version("acme/mood")).tail is not None
        assert (await client.report("acme/mood")).fine_tuning is not None
        await client.predict("acme/mood", ["good"], average_views=4)
        assert recorder.asked("Predict")[0].average_views == 4
        loaded = await client.load_backbone("torchvision/resnet18")
        assert loaded.fingerprint != FINGERPRINT
        assert len(await client.unload_backbone("torchvision/resnet18")) == 2
