"""What was acknowledged survives kill -9, and nothing half-made is left."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import TEXTS, Start
from tests.e2e.learning import make_head, send_feedback, strangers
from tests.e2e.processes import Running, run, serve_command, serving
from tests.e2e.samples import vectors
from tests.e2e.transports import Grpc, Refused, embedding
from trunkline import Client, Prediction, TrainingState, Vector
from trunkline.digest import embedding_digest
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

Step = Callable[[Grpc, "Ledger", int], None]

DIM = 384
MESSAGE_ROWS = 5
HEAD = "tenants/durable/heads/head"


@dataclass
class Ledger:
    """What was sent and what of it was acknowledged."""

    fingerprint: str
    acknowledged_rows: dict[str, str] = field(default_factory=dict)
    sent_messages: list[list[str]] = field(default_factory=list)
    acknowledged_ids: set[str] = field(default_factory=set)
    sent_ids: dict[str, prediction_pb2.Feedback] = field(default_factory=dict)
    acknowledged_versions: set[int] = field(default_factory=set)
    _acknowledged: threading.Condition = field(default_factory=threading.Condition)
    _counts: Counter[Step] = field(default_factory=Counter)

    def note(self, step: Step) -> None:
        with self._acknowledged:
            self._counts[step] += 1
            self._acknowledged.notify_all()

    def wait_for(self, count: int) -> None:
        """Returns when that many more replies have come, and one to each step at least."""
        with self._acknowledged:
            end = self._counts.total() + count
            assert self._acknowledged.wait_for(
                lambda: self._counts.keys() == set(STEPS) and self._counts.total() >= end,
                timeout=60,
            )

    def new_rows(self, seed: int) -> list[tuple[str, Vector, str]]:
        rows = [
            (Vector(self.fingerprint, vector), label)
            for vector, label in vectors(MESSAGE_ROWS, DIM, seed)
        ]
        return [(embedding_digest(self.fingerprint, v.data), v, label) for v, label in rows]


def upload(way: Grpc, ledger: Ledger, seed: int) -> None:
    rows = ledger.new_rows(seed)
    ledger.sent_messages.append([digest for digest, _, _ in rows])
    reply = way.add(HEAD, [(vector.message(), label) for _, vector, label in rows])
    assert reply.added == MESSAGE_ROWS
    ledger.acknowledged_rows.update({digest: label for digest, _, label in rows})


def correct(way: Grpc, ledger: Ledger, seed: int) -> None:
    vector, _ = vectors(1, DIM, seed)[0]
    feedback = prediction_pb2.Feedback(
        id=f"id-{seed}", input=embedding(ledger.fingerprint, vector), label="class-1"
    )
    ledger.sent_ids[feedback.id] = feedback
    request = prediction_pb2.SendFeedbackRequest(head=HEAD, feedback=[feedback])
    reply = way.call("SendFeedback", request)
    assert not reply.errors
    ledger.acknowledged_ids.update(reply.ids)


def train(way: Grpc, ledger: Ledger, seed: int) -> None:
    spec = heads_pb2.HeadSpec(family="ridge")
    reply = way.call("TrainHead", heads_pb2.TrainHeadRequest(head=HEAD, spec=spec))
    assert reply.training.state == heads_pb2.TRAINING_STATE_SUCCEEDED, reply
    ledger.acknowledged_versions.add(reply.training.version)


STEPS: tuple[Step, ...] = (upload, correct, train)


@pytest.mark.parametrize("rounds", [1, pytest.param(5, marks=pytest.mark.long)])
def test_acknowledged_survives_kill_nine_at_random_points(
    tmp_path: Path, start: Start, rounds: int
) -> None:
    """Uploads, feedback and trainings run at once; the server is killed in the midst of them."""
    points = random.Random(20)
    data = tmp_path / "data"
    command = serve_command(data, "--backbone", TEXTS, "--fit-threads", "1")
    running = start(command)
    with running.client() as client:
        (backbone,) = client.backbones()
        ledger = Ledger(backbone.fingerprint)
        client.create_head("durable/head", TEXTS)
    seeds = iter(range(10**6))
    way = Grpc(running.grpc)
    for _ in range(3):
        upload(way, ledger, next(seeds))
    way.close()
    for _ in range(rounds):
        _kill_at_work(running, ledger, seeds, points.randrange(1, 120))
        assert _integrity(data) == "ok"
        running = start(command)
        with running.client() as client:
            _check(client, ledger)
    assert ledger.acknowledged_versions
    assert ledger.acknowledged_ids
    assert running.terminate() == 0


def _kill_at_work(running: Running, ledger: Ledger, seeds: Iterator[int], point: int) -> None:
    lock = threading.Lock()
    way = Grpc(running.grpc)
    surprises: list[BaseException] = []

    def work(step: Step) -> None:
        try:
            while True:
                with lock:
                    seed = next(seeds)
                step(way, ledger, seed)
                ledger.note(step)
        except Refused as error:
            if error.code != "UNAVAILABLE":
                surprises.append(error)
        except BaseException as error:
            surprises.append(error)

    threads = [threading.Thread(target=work, args=(step,)) for step in STEPS]
    for thread in threads:
        thread.start()
    ledger.wait_for(point)
    running.kill()
    for thread in threads:
        thread.join()
    way.close()
    assert not surprises


def _check(client: Client, ledger: Ledger) -> None:
    stored = {example.digest: example.label for example in client.list_examples("durable/head")}
    assert ledger.acknowledged_rows.items() <= stored.items()
    for digests in ledger.sent_messages:
        assert sum(digest in stored for digest in digests) in (0, MESSAGE_ROWS)
    before = client.get_head("durable/head").feedback_count
    assert len(ledger.acknowledged_ids) <= before <= len(ledger.sent_ids)
    _send_feedback_again(client, ledger)
    assert client.get_head("durable/head").feedback_count == len(ledger.sent_ids)
    versions = {version.version for version in client.versions("durable/head")}
    assert ledger.acknowledged_versions <= versions
    assert versions == set(range(1, len(versions) + 1))
    for version in versions:
        assert client.export_head("durable/head", version).safetensors
    if ledger.acknowledged_versions:
        active = client.get_head("durable/head").active_version
        probe = Vector(ledger.fingerprint, vectors(1, DIM)[0][0])
        (row,) = client.predict("durable/head", [probe])
        assert isinstance(row, Prediction)
        assert active is not None
        assert row.version >= max(ledger.acknowledged_versions)


def _send_feedback_again(client: Client, ledger: Ledger) -> None:
    """As a client does who has lost the replies: what was acknowledged is a duplicate."""
    way = Grpc(client.address)
    feedback = list(ledger.sent_ids.values())
    for start in range(0, len(feedback), 500):
        part = feedback[start : start + 500]
        request = prediction_pb2.SendFeedbackRequest(head=HEAD, feedback=part)
        reply = way.call("SendFeedback", request)
        for item, duplicate in zip(part, reply.duplicates, strict=True):
            assert duplicate or item.id not in ledger.acknowledged_ids
    way.close()
    ledger.acknowledged_ids.update(ledger.sent_ids)


def _integrity(data: Path) -> str:
    connection = sqlite3.connect(data / "trunkline.db")
    try:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    finally:
        connection.close()
    return str(verdict)


@dataclass(frozen=True)
class Killed:
    """A server that runs again after a kill, and what had become of its heads before."""

    running: Running
    data: Path
    training: str
    corrected: str
    inputs: list[common_pb2.Input]
    scores: list[dict[str, float]]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Killed]:
    """Killed when one head had learned from feedback and another was in training."""
    folder = tmp_path_factory.mktemp("killed")
    command = serve_command(folder / "data", "--backbone", TEXTS, "--fit-threads", "1")
    with serving(command, folder / "log-0") as running:
        with running.client() as client:
            (backbone,) = client.backbones()
            client.create_head("cut/head", TEXTS)
            rows = vectors(1500, DIM, classes=10)
            client.add_examples(
                "cut/head", [(Vector(backbone.fingerprint, v), label) for v, label in rows]
            )
        way = Grpc(running.grpc)
        corrected = make_head(way, "corrected", backbone.fingerprint)
        inputs = strangers(backbone.fingerprint, 10)
        send_feedback(way, corrected, [(item, "class-1") for item in inputs])
        before = way.predict(corrected, inputs).rows
        stub: Any = way.channel.unary_stream(
            "/trunkline.v1.HeadService/TrainHead", None, heads_pb2.TrainHeadResponse.FromString
        )
        request = heads_pb2.TrainHeadRequest(head="tenants/cut/heads/head")
        first = next(iter(stub(request.SerializeToString(), timeout=60)))
        running.kill()
        way.close()
    with serving(command, folder / "log-1") as running:
        yield Killed(
            running,
            folder / "data",
            first.training.name,
            corrected,
            inputs,
            [row.scores for row in before],
        )
        assert running.terminate() == 0


@pytest.mark.long
def test_training_cut_off_by_kill_nine_ends_after_the_restart(killed: Killed) -> None:
    with killed.running.client() as client:
        training = client.get_training(killed.training)
        while not training.done:
            training = client.get_training(killed.training)
        assert training.state is TrainingState.SUCCEEDED
        assert training.version == 1
        assert client.get_head("cut/head").active_version == 1
        assert client.get_head("cut/head").training is None
        assert client.report("cut/head").example_count == 1500


@pytest.mark.long
def test_live_copy_survives_kill_nine(killed: Killed) -> None:
    way = Grpc(killed.running.grpc)
    after = way.predict(killed.corrected, killed.inputs).rows
    described = way.call("GetHead", heads_pb2.GetHeadRequest(name=killed.corrected)).head
    way.close()
    assert {row.label for row in after} == {"class-1"}
    for one, other in zip(killed.scores, after, strict=True):
        assert one == pytest.approx(other.scores, abs=1e-5)
    assert described.live.state == heads_pb2.LIVE_STATE_SERVING
    assert (described.live.feedback_count, described.live.scored) == (10, 10)


@pytest.mark.long
def test_second_server_on_the_same_data_is_refused(killed: Killed) -> None:
    second = run(serve_command(killed.data, "--backbone", TEXTS))
    assert second.returncode not in (0, -9)
    assert str(killed.data) in second.stderr
    assert "Traceback" not in second.stderr
    assert second.stdout == ""
    with killed.running.client() as client:
        assert client.ready()
