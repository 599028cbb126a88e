"""Trainings that fine-tune: on a real network, in processes of their own."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from service.store import example_sets
from service.store import heads as stored_heads
from service.tuning.activation_files import read_layout
from tests.service.server import HEAD, InProcessServer, best, texts
from tests.service.tail_heads import database_of
from tests.service.tunings import (
    IN_VAIN,
    TUNE,
    WHO_BITES,
    cancel,
    kept,
    progress,
    server_on_minilm,
    tuning_processes,
    until_tuning,
)
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2

pytestmark = pytest.mark.tuning

UNSEEN = {"dog bites owl": "dog", "owl bites dog": "bitten"}
OTHER = "tenants/bolt/heads/quick"


@dataclass
class Tuned:
    """A data directory with a head that runs on a tail, and how its training went on."""

    data: Path
    trainings: list[heads_pb2.Training]


Tune = Callable[[], Awaitable[Tuned]]


@pytest.fixture(scope="module")
def tune(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Tune:
    """Tunes a tail when it is first called."""
    made: list[Tuned] = []

    async def once() -> Tuned:
        if made:
            return made[0]
        data = tmp_path_factory.mktemp("tuned")
        async with server_on_minilm(data, cache_dir) as server:
            await server.create(keep_inputs=True)
            await server.add({**WHO_BITES, "dog bites hen": None})
            for text, label in UNSEEN.items():
                test = common_pb2.Input(text=text)
                await server.add_rows(heads_pb2.NewExample(input=test, label=label, held_out=True))
            made.append(Tuned(data, [training async for training in progress(server, TUNE)]))
        return made[0]

    return once


@pytest.fixture
async def data(tune: Tune, tmp_path: Path) -> Path:
    """A copy of what it made."""
    tuned = await tune()
    return Path(shutil.copytree(tuned.data, tmp_path / "data"))


@pytest.fixture
async def server(data: Path, cache_dir: Path) -> AsyncIterator[InProcessServer]:
    async with server_on_minilm(data, cache_dir) as opened:
        yield opened


async def versions(server: InProcessServer) -> list[heads_pb2.HeadVersion]:
    request = heads_pb2.ListHeadVersionsRequest(head=HEAD)
    return list((await server.ask("ListHeadVersions", request)).versions)


async def test_tail_is_tuned_serves_after_a_restart_and_the_report_compares(
    server: InProcessServer, tune: Tune, data: Path
) -> None:
    told = (await tune()).trainings
    assert told[-1].state == heads_pb2.TRAINING_STATE_SUCCEEDED
    phases = list(dict.fromkeys(training.phase for training in told))
    expected = ["waiting for its turn", "computing activations", "fine-tuning"]
    assert [phase for phase in phases if phase in expected] == expected
    shares = [training.progress for training in told]
    assert shares == sorted(shares)
    epochs = [training.tuning for training in told if training.HasField("tuning")]
    assert {epoch.fold for epoch in epochs} == {*range(epochs[0].folds + 1)}
    assert all(epoch.HasField("validation_loss") == (epoch.fold > 0) for epoch in epochs)
    report = await server.report()
    tuning = report.fine_tuning
    assert tuning.used, tuning.reason
    assert tuning.with_tail.log_loss < tuning.without_tail.log_loss
    assert report.estimate == tuning.with_tail
    assert tuning.strategy == "tail"
    assert list(tuning.blocks) == ["encoder.layer.4", "encoder.layer.5"]
    assert 1 <= tuning.epochs <= len(tuning.curve) <= 6
    assert tuning.bytes_with > 10**6 > tuning.bytes_without > 0
    assert report.test.estimate.accuracy == 1
    (version,) = await versions(server)
    assert version.tail.blocks == tuning.blocks
    assert version.tail.fingerprint != version.fingerprint == report.fingerprint
    assert best(await server.predict(*texts(*WHO_BITES))) == list(WHO_BITES.values())
    assert kept(data) == []
    head = await database_of(server).read(stored_heads.get_head, "acme", "defects")
    by_tail = version.tail.fingerprint
    lacking = await database_of(server).read(example_sets.without_embedding, head.uid, by_tail)
    assert lacking == {}, "unlabelled and held-out examples have features, too"


@pytest.mark.long
async def test_tail_that_cannot_be_served_does_not_replace_the_head_that_answers(
    tmp_path: Path, cache_dir: Path
) -> None:
    async with server_on_minilm(tmp_path, cache_dir, tail_cache_bytes=2**20) as server:
        await server.create(keep_inputs=True)
        await server.add(WHO_BITES)
        await server.train(spec=heads_pb2.HeadSpec(family="ridge"))
        last = [training async for training in progress(server, TUNE)][-1]
        assert (last.state, last.error_code) == (
            heads_pb2.TRAINING_STATE_FAILED,
            "FAILED_PRECONDITION",
        )
        assert "tail_cache_bytes" in last.error_message
        assert [version.version for version in await versions(server)] == [1]
        assert not (await server.predict(*texts(*WHO_BITES))).errors


@pytest.mark.long
async def test_process_that_dies_fails_its_training_and_the_next_one_works(
    server: InProcessServer, data: Path
) -> None:
    """The next one runs new examples only, and its tail, which is no better, is left aside."""
    new = {"dog bites ox": "dog", "ox bites dog": "bitten"}
    await server.add(new)
    before = segments(data)
    trainings = progress(server, IN_VAIN)
    await until_tuning(trainings)
    (process,) = tuning_processes()
    process.kill()
    last = [training async for training in trainings][-1]
    assert (last.state, last.error_code) == (heads_pb2.TRAINING_STATE_FAILED, "INTERNAL")
    assert "tuning process ended" in last.error_message
    assert kept(data) == []
    again = [training async for training in progress(server, IN_VAIN)][-1]
    assert again.state == heads_pb2.TRAINING_STATE_SUCCEEDED, again.error_message
    added = [names for path, names in segments(data).items() if path not in before]
    assert added == [{text_digest(text) for text in new}]
    newest, _ = await versions(server)
    assert (newest.active, newest.HasField("tail")) == (True, False)
    report = await server.report()
    assert not report.fine_tuning.used
    assert report.fine_tuning.reason
    assert report.fine_tuning.HasField("with_tail")
    assert report.HasField("test")
    assert report.example_count == len(WHO_BITES) + len(new)
    assert not (await server.predict(*texts("dog bites ox"))).errors


def segments(data: Path) -> dict[str, set[str]]:
    """Names of the rows in each file of activations."""
    files = (data / "activations").rglob("*.safetensors")
    return {path.name: set(read_layout(path)) for path in files}


@pytest.mark.long
async def test_quick_training_is_not_delayed_and_other_tails_wait_for_their_turn(
    server: InProcessServer, data: Path
) -> None:
    await server.create(OTHER, keep_inputs=True)
    await server.add(WHO_BITES, head=OTHER)
    first = await until_tuning(progress(server, TUNE))
    assert (await server.train(OTHER, spec=heads_pb2.HeadSpec(family="ridge"))).version == 1
    still = heads_pb2.GetTrainingRequest(name=first.name)
    running = (await server.ask("GetTraining", still)).training
    assert running.state == heads_pb2.TRAINING_STATE_RUNNING
    waiting = progress(server, TUNE, OTHER)
    async for second in waiting:
        if second.phase == "waiting for its turn" and second.state != running.state:
            break
    for training in (second, first):
        assert (await cancel(server, training)).state == heads_pb2.TRAINING_STATE_CANCELLED
    assert tuning_processes() == []
    assert kept(data) == []
    assert [version.version for version in await versions(server)] == [1]
    assert best(await server.predict(*texts("dog bites man"))) == ["dog"]


@pytest.mark.long
async def test_forgetting_begins_a_tuning_anew_that_had_learned_from_it(
    server: InProcessServer, data: Path
) -> None:
    gone = "dog bites man"
    trainings = progress(server, IN_VAIN)
    await until_tuning(trainings)
    (before,) = tuning_processes()
    response = await server.forget(text_digest(gone))
    assert list(response.deleted_versions) == [1]
    assert not before.is_running() or before.status() == psutil.STATUS_ZOMBIE
    last = [training async for training in trainings][-1]
    assert last.state == heads_pb2.TRAINING_STATE_SUCCEEDED, last.error_message
    assert (await server.report()).example_count == len(WHO_BITES) - 1
    assert not holding(data, text_digest(gone))
    assert holding(data, text_digest("man bites dog"))


def holding(data: Path, digest: str) -> list[Path]:
    """Files that name an input."""
    files = [path for path in data.rglob("*") if path.is_file()]
    return [path for path in files if digest.encode() in path.read_bytes()]


@pytest.mark.long
async def test_tuning_ends_with_the_server_and_the_next_one_takes_it_up(
    data: Path, cache_dir: Path
) -> None:
    async with server_on_minilm(data, cache_dir) as server:
        training = await until_tuning(progress(server, IN_VAIN))
    assert tuning_processes() == []
    assert "task" in kept(data)
    assert any(name.startswith("checkpoint") for name in kept(data))
    async with server_on_minilm(data, cache_dir) as server:
        request = heads_pb2.TrainHeadRequest(head=HEAD)
        handler = server.application.handlers["TrainHead"]
        replies = [reply.training async for reply in handler(request, server.call("T", request))]
        assert {reply.name for reply in replies} == {training.name}
        assert replies[-1].state == heads_pb2.TRAINING_STATE_SUCCEEDED
        assert (await server.report(version=2)).HasField("fine_tuning")
        assert kept(data) == []


@pytest.mark.long
async def test_deleted_head_ends_its_tuning_and_leaves_no_activations(
    server: InProcessServer, data: Path
) -> None:
    known = text_digest("dog bites man")
    trainings = progress(server, IN_VAIN)
    await until_tuning(trainings)
    assert outside_the_database(holding(data, known))
    await server.ask("DeleteHead", heads_pb2.DeleteHeadRequest(name=HEAD))
    assert tuning_processes() == []
    assert outside_the_database(holding(data, known)) == []
    assert kept(data) == []
    told = {training.state async for training in trainings}  # which ends
    assert heads_pb2.TRAINING_STATE_SUCCEEDED not in told


def outside_the_database(files: list[Path]) -> list[Path]:
    return [path for path in files if not path.name.startswith("trunkline.db")]
