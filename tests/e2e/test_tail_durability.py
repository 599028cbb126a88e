"""A fine-tuning survives kill -9 of its server: it goes on from its last checkpoint."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import grpc
import psutil
import pytest

from tests.e2e.conftest import TEXTS, Start
from tests.e2e.processes import END_SECONDS, Running, serve_command
from tests.e2e.transports import Grpc, text
from tests.service.tunings import TUNE, WHO_BITES
from trunkline.v1 import heads_pb2, heads_pb2_grpc

HEAD = "tenants/durable/heads/tail"


def trainings(running: Running) -> Generator[heads_pb2.Training, None, None]:
    """Starts or joins the head's training, and tells how it goes on."""
    with grpc.insecure_channel(running.grpc) as channel:
        stub = heads_pb2_grpc.HeadServiceStub(channel)
        request = heads_pb2.TrainHeadRequest(head=HEAD, spec=TUNE)
        for reply in stub.TrainHead(request, timeout=150):
            yield reply.training


def worker(running: Running) -> psutil.Process:
    """The process that tunes."""
    (found,) = (
        child
        for child in psutil.Process(running.pid).children(recursive=True)
        if "service.tuning.worker" in child.cmdline()
    )
    return found


def epochs(told: list[heads_pb2.Training]) -> set[tuple[int, int]]:
    """Fold and epoch of all that was told."""
    found = (training.tuning for training in told if training.HasField("tuning"))
    return {(tuning.fold, tuning.epoch) for tuning in found}


@pytest.mark.long
def test_fine_tuning_goes_on_from_its_checkpoint_after_kill_nine(
    tmp_path: Path, start: Start
) -> None:
    data = tmp_path / "data"
    running = start(serve_command(data, "--backbone", TEXTS))
    with running.client() as client:
        client.create_head("durable/tail", TEXTS, keep_inputs=True)
        client.upload("durable/tail", list(WHO_BITES.items()))
    before: list[heads_pb2.Training] = []
    stream = trainings(running)
    for training in stream:
        before.append(training)
        if len(epochs(before)) == 3:
            break
    tuning = worker(running)
    running.kill()
    psutil.wait_procs([tuning], END_SECONDS)
    assert not tuning.is_running(), "it must not outlive its server"
    stream.close()
    (folder,) = (data / "tuning").iterdir()
    assert before[-1].name.endswith(folder.name)
    running = start(serve_command(data, "--backbone", TEXTS))
    after = list(trainings(running))
    last = after[-1]
    assert last.state == heads_pb2.TRAINING_STATE_SUCCEEDED, last.error_message
    assert last.name == before[-1].name
    repeated = epochs(before) & epochs(after)
    assert len(repeated) <= 1, "at most the epoch whose checkpoint was being written"
    assert (0, 1) in epochs(after), "the epochs on all examples come last"
    assert list((data / "tuning").iterdir()) == []
    way = Grpc(running.grpc)
    rows = way.predict(HEAD, [text(row) for row in WHO_BITES]).rows
    assert [row.label for row in rows] == list(WHO_BITES.values())
    request = heads_pb2.GetHeadVersionRequest(name=f"{HEAD}/versions/1")
    assert way.call("GetHeadVersion", request).version.tail.blocks
    way.close()
    assert running.terminate() == 0
