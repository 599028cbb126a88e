"""What is left when serving processes are killed: all that was acknowledged."""

from __future__ import annotations

import random
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import TEXTS, Start
from tests.e2e.learning import make_head, strangers
from tests.e2e.processes import run, serve_command
from tests.e2e.transports import METHODS, Grpc, Refused
from tests.e2e.workers import WORKERS, each_worker, processes_of, said_by, until_back
from trunkline.v1 import extraction_pb2, heads_pb2, prediction_pb2

KILLS = 6


@pytest.mark.long
def test_nothing_is_left_of_a_server_whose_supervisor_is_killed(
    start: Start, short_dir: Path
) -> None:
    command = serve_command(short_dir / "d", "--workers", "2", "--backbone", TEXTS)
    running = start(command)
    family = psutil.Process(running.pid).children(recursive=True)
    running.kill()
    assert not psutil.wait_procs(family, 10)[1]
    again = start(command)
    family = psutil.Process(again.pid).children(recursive=True)
    assert again.terminate() == 0
    assert not psutil.wait_procs(family, 10)[1]


@pytest.mark.long
@pytest.mark.parametrize("name", ["worker-1", "extractor"])
def test_process_that_hangs_is_replaced(name: str, start: Start, short_dir: Path) -> None:
    running = start(serve_command(short_dir / "d", "--workers", "2", "--backbone", TEXTS))
    hung, began = processes_of(running)[name], len(said_by(running, name))
    hung.suspend()
    until_back(running, name, began, seconds=180)
    assert processes_of(running)[name] != hung
    killed = [e for e in running.events() if e["event"].startswith("a process does not answer")]
    assert [event["process"] for event in killed] == [name]
    assert running.terminate() == 0


@pytest.mark.long
def test_nothing_acknowledged_is_lost_while_processes_are_killed(
    start: Start, short_dir: Path
) -> None:
    data_dir = short_dir / "d"
    running = start(serve_command(data_dir, "--workers", "2", "--backbone", TEXTS))
    with each_worker(running) as found:
        reply = found["worker-0"].call("ListBackbones", extraction_pb2.ListBackbonesRequest())
        fingerprint = reply.backbones[0].fingerprint
        head = make_head(found["worker-0"], "killed", fingerprint)
    inputs = strangers(fingerprint, 5000)
    acknowledged, stop = list[str](), threading.Event()

    def write() -> None:
        for number, item in enumerate(inputs):
            if stop.is_set():
                return
            feedback = prediction_pb2.Feedback(id=f"id-{number}", input=item, label="class-1")
            request = prediction_pb2.SendFeedbackRequest(head=head, feedback=[feedback])
            with closing(Grpc(running.grpc)) as way, suppress(Refused):
                way.call("SendFeedback", request)
                acknowledged.append(feedback.id)

    writer, choose = threading.Thread(target=write), random.Random(7)
    writer.start()
    for name in choose.choices([*WORKERS, "extractor"], k=KILLS):
        time.sleep(choose.uniform(0, 1))
        killed = processes_of(running)[name]
        began = len(said_by(running, name))
        killed.kill()
        until_back(running, name, began)
    stop.set()
    writer.join()
    with each_worker(running) as found:
        scores = [way.predict(head, inputs[:2]).rows for way in found.values()]
        assert [row.label for rows in scores for row in rows] == ["class-1"] * 4
        assert set(acknowledged) <= _feedback_ids(found["worker-1"], head)
    assert running.terminate() == 0
    assert run([sys.executable, "-m", "trunkline", "check", str(data_dir)]).returncode == 0


def _feedback_ids(way: Grpc, head: str) -> set[str]:
    found, token = set[str](), ""
    while True:
        request = heads_pb2.ListFeedbackRequest(head=head, page_size=1000, page_token=token)
        page = way.call("ListFeedback", request)
        found |= {item.id for item in page.feedback}
        token = page.next_page_token
        if not token:
            return found


@pytest.mark.long
def test_training_goes_on_when_the_process_that_trains_was_killed(
    start: Start, short_dir: Path
) -> None:
    running = start(serve_command(short_dir / "d", "--workers", "2", "--backbone", TEXTS))
    with each_worker(running) as found:
        way = found["worker-1"]
        reply = way.call("ListBackbones", extraction_pb2.ListBackbonesRequest())
        fingerprint, spec = reply.backbones[0].fingerprint, heads_pb2.HeadSpec(family="auto")
        head = make_head(way, "trained", fingerprint, rows=1000, spec=spec)
        method = METHODS["TrainHead"]
        watch = way.channel.unary_stream(method.path, None, method.response.FromString)
        replies = watch(heads_pb2.TrainHeadRequest(head=head).SerializeToString())
        training = next(replies).training.name
        processes_of(running)["worker-0"].kill()
        states = [_state(way, training)]
        while states[-1] in (heads_pb2.TRAINING_STATE_QUEUED, heads_pb2.TRAINING_STATE_RUNNING):
            time.sleep(0.1)
            states.append(_state(way, training))
    assert states[0] != heads_pb2.TRAINING_STATE_SUCCEEDED, "it was killed too late"
    assert states[-1] == heads_pb2.TRAINING_STATE_SUCCEEDED
    assert running.terminate() == 0


def _state(way: Grpc, training: str) -> heads_pb2.TrainingState.ValueType:
    """The state of a training, asked for again where the killed process was asked."""
    request = heads_pb2.GetTrainingRequest(name=training)
    for _ in range(100):
        try:
            state: heads_pb2.TrainingState.ValueType
            state = way.call("GetTraining", request).training.state
        except Refused as refused:
            time.sleep(refused.retry_after or 1.0)
        else:
            return state
    raise AssertionError("the process that trains did not come back")
