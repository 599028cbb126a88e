import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import trunkline
from tests.trunkline.recording import Recorder, Server
from trunkline import (
    AsyncClient,
    Client,
    NewExample,
    Prediction,
    RowFailure,
    UploadProgress,
)

TEXTS = [("good", "yes"), ("bad", "no")]


@pytest.fixture
async def aclient(server: Server) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.address, timeout=10) as connected:
        yield connected


def unavailable(_: Any, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAVAILABLE, "going down")


def signatures(client: type) -> dict[str, list[str]]:
    functions = inspect.getmembers(client, inspect.isfunction)
    return {
        name: [str(parameter) for parameter in inspect.signature(function).parameters.values()]
        for name, function in functions
        if not name.startswith("_")
    }


def test_both_clients_have_the_same_methods() -> None:
    assert signatures(AsyncClient) == signatures(Client)


async def test_the_whole_way_from_examples_to_feedback(
    aclient: AsyncClient, recorder: Recorder, tmp_path: Path
) -> None:
    assert await aclient.ready()
    await aclient.create_head("acme/mood", "minilm/l6-v2")
    seen: list[UploadProgress] = []
    uploaded = await aclient.upload("acme/mood", TEXTS, seen.append)
    assert (uploaded.added, seen[-1].rows) == (2, 2)
    assert (await aclient.upload("acme/mood", TEXTS)).known == 2
    states: list[str] = []
    training = await aclient.train("acme/mood", on_progress=lambda row: states.append(row.state))
    assert states == ["queued", "running", "succeeded"]
    assert training.version == 1
    first, second = await aclient.predict("acme/mood", ["bad", tmp_path / "none.png"])
    assert isinstance(first, Prediction)
    assert first.label == "no"
    assert isinstance(second, RowFailure)
    await aclient.feedback("acme/mood", [("bad", "no")])
    assert len(recorder.feedback_ids) == 1
    assert [head.name async for head in aclient.list_heads("acme")] == ["tenants/acme/heads/mood"]
    assert (await aclient.report("acme/mood")).version == 1


async def test_errors_are_those_of_the_tree(aclient: AsyncClient) -> None:
    with pytest.raises(trunkline.NotFound) as caught:
        await aclient.get_head("acme/none")
    assert caught.value.request_id == "req-1"


async def test_calls_are_tried_again_while_the_server_is_unavailable(
    aclient: AsyncClient, recorder: Recorder
) -> None:
    recorder.hooks["ListBackbones"] = [unavailable]
    assert len(await aclient.backbones()) == 2


async def test_an_interrupted_upload_continues_where_it_stopped(
    aclient: AsyncClient, recorder: Recorder
) -> None:
    await aclient.create_head("acme/mood", "minilm/l6-v2")
    recorder.hooks["AddExamples"] = [lambda *_: None, unavailable]
    result = await aclient.upload("acme/mood", [(f"text {row}", "a") for row in range(300)])
    assert (result.rows, result.added + result.unchanged, result.failed) == (300, 300, 0)
    assert [len(request.examples) for request in recorder.asked("AddExamples")[:2]] == [128, 128]
    assert len(recorder.examples["tenants/acme/heads/mood"]) == 300


async def test_an_error_of_the_callers_own_ends_the_upload(aclient: AsyncClient) -> None:
    await aclient.create_head("acme/mood", "minilm/l6-v2")

    def stop(_: UploadProgress) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        await aclient.upload("acme/mood", TEXTS, stop)


async def test_progress_is_told_on_the_event_loop_while_files_are_read_elsewhere(
    aclient: AsyncClient, tmp_path: Path
) -> None:
    await aclient.create_head("acme/mood", "minilm/l6-v2")
    file = tmp_path / "a.png"
    file.write_bytes(b"image")
    readers: set[int] = set()
    told: set[int] = set()

    def items() -> Iterator[tuple[Path, str]]:
        readers.add(threading.get_ident())
        yield file, "yes"

    await aclient.upload("acme/mood", items(), lambda _: told.add(threading.get_ident()))
    assert told == {threading.get_ident()}
    assert readers.isdisjoint(told)


async def test_a_list_may_be_left_before_its_end(aclient: AsyncClient) -> None:
    for name in ("a", "b", "c", "d", "e"):
        await aclient.create_head(f"acme/{name}", "minilm/l6-v2")
    async for head in aclient.list_heads("acme"):
        assert head.name == "tenants/acme/heads/a"
        break
    assert len([head async for head in aclient.list_heads("acme")]) == 5


async def test_a_training_whose_stream_breaks_is_joined_again(
    aclient: AsyncClient, recorder: Recorder
) -> None:
    await aclient.create_head("acme/mood", "minilm/l6-v2")
    recorder.hooks["TrainHead.RUNNING"] = [unavailable]
    assert (await aclient.train("acme/mood")).version == 1


async def test_one_client_serves_many_calls_at_once(aclient: AsyncClient) -> None:
    await aclient.create_head("acme/mood", "minilm/l6-v2")
    heads = await asyncio.gather(*(aclient.get_head("acme/mood") for _ in range(50)))
    assert {head.name for head in heads} == {"tenants/acme/heads/mood"}


async def test_what_feedback_leads_to(aclient: AsyncClient) -> None:
    await aclient.create_head("acme/mood", "minilm/l6-v2", policy="manual")
    await aclient.add_examples("acme/mood", [*TEXTS, NewExample("later", held_out=True)])
    await aclient.train("acme/mood")
    (suggestion,) = (await aclient.suggest_examples("acme/mood")).suggestions
    assert suggestion.example.held_out
    await aclient.feedback("acme/mood", [("bad", "yes")])
    assert [row.state async for row in aclient.list_feedback("acme/mood")] == ["live"]
    assert (await aclient.drop_live_copy("acme/mood")).quarantined == 1
    assert (await aclient.release_feedback("acme/mood", None)).changed == 1
    await aclient.feedback("acme/mood", [("good", "no")])
    assert (await aclient.promote_live_copy("acme/mood")).version.source == "feedback"
    head = await aclient.update_head("acme/mood", policy="immediate")
    assert (head.policy, head.active_version) == ("immediate", 2)
    forgotten = await aclient.forget_examples("acme/mood", [suggestion.example.digest])
    assert forgotten.forgotten == 1
    assert (await aclient.export_head("acme/mood", onnx=True)).onnx == b"graph"
    (row,) = await aclient.predict("acme/mood", ["bad"], conformal_level=0.9)
    assert isinstance(row, Prediction)
    assert row.prediction_set == ()
