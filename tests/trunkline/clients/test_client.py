import struct
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

import trunkline
from tests.trunkline.recording import FINGERPRINT, Recorder, Server, refuse
from tests.trunkline.steps import TEXTS, trained, unavailable
from trunkline import (
    AlreadyExists,
    Client,
    Digest,
    HeadSpec,
    NotFound,
    Prediction,
    Receipt,
    RowFailure,
    Training,
    TrainingState,
)
from trunkline.digest import text_digest


def test_predictions_come_in_the_order_of_the_inputs(client: Client) -> None:
    trained(client)
    outcomes = client.predict("acme/mood", ["bad", "good", b"not a text"])
    assert [row.label for row in outcomes if isinstance(row, Prediction)] == ["no", "yes", "no"]
    first = outcomes[0]
    assert isinstance(first, Prediction)
    assert first.probability == 0.75
    assert dict(first.scores) == {"no": 0.75, "yes": 0.25}
    assert first.digest == text_digest("bad")
    assert first.head == "tenants/acme/heads/mood"
    assert first.version == 1


def test_top_k_bounds_the_scores(client: Client) -> None:
    trained(client)
    (row,) = client.predict("acme/mood", ["bad"], top_k=1)
    assert isinstance(row, Prediction)
    assert dict(row.scores) == {"no": 0.75}


def test_rows_that_fail_here_or_there_cost_themselves_alone(
    client: Client, recorder: Recorder, tmp_path: Path
) -> None:
    trained(client)
    recorder.bad_digests.add(text_digest("broken"))
    inputs: list[Any] = [tmp_path / "none.png", "good", "broken", "\udc80", "bad"]
    outcomes = client.predict("acme/mood", inputs)
    codes = [row.code if isinstance(row, RowFailure) else row.label for row in outcomes]
    assert codes == ["NOT_FOUND", "yes", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "no"]
    assert [row.row for row in outcomes if isinstance(row, RowFailure)] == [0, 2, 3]


def test_inputs_are_classified_by_the_examples_given_with_them(
    client: Client, recorder: Recorder, tmp_path: Path
) -> None:
    recorder.bad_digests |= {text_digest("broken"), text_digest("bad example")}
    examples: list[Any] = [
        (tmp_path / "none.txt", "b"),
        ("one", "a"),
        ("bad example", "a"),
        trunkline.NewExample("two", "b", group="pair"),
    ]
    found = client.classify("acme", ["good", "broken", "fine"], examples, "minilm/l6-v2", 1)
    assert [row.label if isinstance(row, Prediction) else row.row for row in found.outcomes] == [
        *("a", 1, "a"),
    ]
    assert [row.row for row in found.example_failures] == [0, 2]
    assert found.truncated_examples == (3,)
    assert found.estimate is not None
    assert (found.estimate.accuracy, found.family) == (1.0, "prototype")
    assert found.backbone == "minilm/l6-v2"
    (asked,) = recorder.asked("Classify")
    assert (asked.tenant, asked.top_k) == ("tenants/acme", 1)
    sent = [(row.label, row.group) for row in asked.examples]
    assert sent == [("a", ""), ("a", ""), ("b", "pair")]


def test_many_rows_go_in_bounded_requests(client: Client, recorder: Recorder) -> None:
    trained(client)
    outcomes = client.predict("acme/mood", [f"text {index}" for index in range(300)])
    sizes = [len(request.inputs) for request in recorder.asked("Predict")]
    assert sizes == [128, 128, 44]
    digests = [row.digest for row in outcomes if isinstance(row, Prediction)]
    assert digests == [text_digest(f"text {index}") for index in range(300)]


def test_an_embedding_can_be_sent_back_as_an_input(client: Client, recorder: Recorder) -> None:
    trained(client)
    (embedding,) = client.embed("acme", ["good"])
    assert isinstance(embedding, trunkline.Embedding)
    assert list(embedding.vector) == [float(int(text_digest("good")[:4], 16))]
    assert memoryview(embedding.vector).format == "f"
    client.predict("acme/mood", [embedding])
    sent = recorder.asked("Predict")[0].inputs[0].embedding
    assert sent.fingerprint == FINGERPRINT
    assert struct.unpack("<f", sent.vector.data) == (embedding.vector[0],)


def test_errors_carry_what_the_server_said(client: Client) -> None:
    with pytest.raises(NotFound) as caught:
        client.get_head("acme/none")
    error = caught.value
    assert (error.code, error.reason, error.field) == ("NOT_FOUND", "TESTED", "head")
    assert error.value == "tenants/acme/heads/none"
    assert error.request_id == "req-1"
    assert error.message == "no head tenants/acme/heads/none"


def test_a_name_that_is_none_is_refused_before_it_is_sent(
    client: Client, recorder: Recorder
) -> None:
    with pytest.raises(trunkline.InvalidArgument) as caught:
        client.get_head("acme")
    assert caught.value.field == "head"
    assert recorder.requests == []


def test_lists_fetch_every_page(client: Client) -> None:
    for name in ("a", "b", "c", "d", "e"):
        client.create_head(f"acme/{name}", "minilm/l6-v2")
    client.create_head("bolt/f", "minilm/l6-v2")
    assert [head.name[-1] for head in client.list_heads("acme")] == ["a", "b", "c", "d", "e"]
    assert [head.name[-1] for head in client.list_heads()] == ["a", "b", "c", "d", "e", "f"]


def test_a_head_has_its_life(client: Client) -> None:
    spec = HeadSpec("ridge", seed=3, l2=0.0)
    head = client.create_head("acme/mood", "minilm/l6-v2", spec, keep_inputs=True)
    assert head.spec == spec
    assert head.active_version is None
    assert head.training is None
    assert head.create_time == datetime(1970, 1, 1, tzinfo=UTC)
    with pytest.raises(AlreadyExists):
        client.create_head("acme/mood", "minilm/l6-v2")
    client.add_examples("acme/mood", TEXTS)
    training = client.train("acme/mood")
    assert (training.state, training.version) == (TrainingState.SUCCEEDED, 1)
    client.train("acme/mood", activate=False)
    assert client.get_head("acme/mood").active_version == 1
    assert client.activate("acme/mood", 2).active_version == 2
    assert [row.version for row in client.versions("acme/mood")] == [2, 1]
    report = client.report("acme/mood")
    assert report.version == 2
    assert report.estimate is not None
    assert report.estimate.accuracy == 0.9
    export = client.export_head("acme/mood", 1)
    assert (export.version.version, export.safetensors) == (1, b"weights")
    client.delete_head("acme/mood")
    with pytest.raises(NotFound):
        client.get_head("acme/mood")


def test_examples_can_be_corrected_and_removed(client: Client) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    client.add_examples("acme/mood", [*TEXTS, ("later", None)])
    good, bad = text_digest("good"), text_digest("bad")
    changes = client.update_examples("acme/mood", {good: "no", bad: None, "0" * 64: "x"})
    assert changes.changed == 2
    assert [row.row for row in changes.failures] == [2]
    labels = {row.digest: row.label for row in client.list_examples("acme/mood")}
    assert (labels[good], labels[bad]) == ("no", None)
    assert len(list(client.list_examples("acme/mood", "no"))) == 2
    assert client.delete_examples("acme/mood", [good, "0" * 64]).changed == 1
    assert client.find_missing("acme/mood", [good, bad]) == {good}


def test_feedback_says_what_its_inputs_are_called(client: Client, recorder: Recorder) -> None:
    trained(client)
    pairs = [("good", "yes"), ("bad", "no")]
    client.feedback("acme/mood", pairs)
    said: list[dict[str, str]] = [{"line": "7"}, {}]
    client.feedback("acme/mood", pairs, external_ids=["1.txt", ""], metadata=said)
    plain, named = (request.feedback for request in recorder.asked("SendFeedback"))
    assert not plain[0].HasField("external_id")
    assert not plain[0].HasField("metadata")
    assert [row.external_id for row in named] == ["1.txt", ""]
    assert [dict(row.metadata.pairs) for row in named] == said
    with pytest.raises(trunkline.InvalidArgument, match="external_ids must be one for each"):
        client.feedback("acme/mood", pairs, external_ids=["1.txt"])


def test_feedback_repeated_after_a_lost_answer_keeps_its_id(
    client: Client, recorder: Recorder
) -> None:
    trained(client)
    recorder.hooks["SendFeedback"] = [unavailable]
    receipts = client.feedback("acme/mood", [("good", "yes"), (Digest(text_digest("bad")), "no")])
    first, second = recorder.asked("SendFeedback")
    assert [row.id for row in first.feedback] == [row.id for row in second.feedback]
    assert all(isinstance(row, Receipt) and row.duplicate for row in receipts)
    assert len(recorder.feedback_ids) == 2


def test_calls_are_tried_again_while_the_server_is_unavailable(
    client: Client, recorder: Recorder
) -> None:
    recorder.hooks["ListBackbones"] = [unavailable, unavailable]
    assert len(client.backbones()) == 2
    assert len(recorder.asked("ListBackbones")) == 3


def test_a_call_whose_effect_could_double_is_not_repeated(
    client: Client, recorder: Recorder
) -> None:
    recorder.hooks["CreateHead"] = [unavailable]
    with pytest.raises(trunkline.Unavailable):
        client.create_head("acme/mood", "minilm/l6-v2")
    assert len(recorder.asked("CreateHead")) == 1


@pytest.mark.parametrize("seconds", [0.3, 3.0])
def test_a_refusal_with_a_time_to_come_back_is_followed(
    seconds: float, client: Client, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_: Any, context: grpc.ServicerContext) -> None:
        refuse(context, "UNAVAILABLE", "warming up", retry_seconds=seconds)

    waits: list[float] = []
    monkeypatch.setattr("trunkline.clients.waiting.time.sleep", waits.append)
    recorder.hooks["CreateHead"] = [busy]
    assert client.create_head("acme/mood", "minilm/l6-v2").name == "tenants/acme/heads/mood"
    (waited,) = waits
    assert seconds <= waited <= 1.2 * seconds


def test_a_retry_hint_beyond_the_deadline_ends_the_waiting(
    client: Client, recorder: Recorder
) -> None:
    def busy(_: Any, context: grpc.ServicerContext) -> None:
        refuse(context, "UNAVAILABLE", "loading", retry_seconds=90)

    recorder.hooks["ListBackbones"] = [busy]
    with pytest.raises(trunkline.Unavailable) as caught:
        client.backbones(timeout=30)
    assert caught.value.retry_after == pytest.approx(90)


def test_calls_wait_for_a_server_that_is_started_again(client: Client, server: Server) -> None:
    client.backbones()
    server.stop()
    restart = threading.Timer(0.5, server.start)
    restart.start()
    assert len(client.backbones()) == 2
    restart.join()


def test_a_call_that_is_sent_only_once_waits_for_the_server_too(
    client: Client, server: Server
) -> None:
    client.backbones()
    server.stop()
    restart = threading.Timer(0.5, server.start)
    restart.start()
    assert client.create_head("acme/mood", "minilm/l6-v2").name == "tenants/acme/heads/mood"
    restart.join()


def test_no_server_is_an_error_that_says_so(server: Server) -> None:
    server.stop()
    with Client(server.address, timeout=0.3) as client:
        with pytest.raises(trunkline.Unavailable, match="refused"):
            client.backbones()
        assert not client.ready()


def test_a_slow_answer_is_a_deadline_exceeded(client: Client, recorder: Recorder) -> None:
    left = threading.Event()

    def slow(_: Any, context: grpc.ServicerContext) -> None:
        context.add_callback(left.set)
        left.wait()

    recorder.hooks["ListBackbones"] = [slow]
    with pytest.raises(trunkline.DeadlineExceeded):
        client.backbones(timeout=0.2)


def test_the_token_goes_with_every_call(server: Server, recorder: Recorder) -> None:
    with Client(server.address, token="s3cret") as client:
        trained(client)
    assert {row.get("authorization") for row in recorder.metadata} == {"Bearer s3cret"}


def test_a_unix_socket_is_an_address(recorder: Recorder, tmp_path: Path) -> None:
    server = Server(recorder, f"unix:{tmp_path}/s")
    server.start()
    with Client(server.address) as client:
        assert client.ready()
        assert len(client.backbones()) == 2
    server.stop()


@pytest.mark.parametrize("address", ["", "localhost", "localhost:x", ":50051", "unix:", "h:70000"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(trunkline.InvalidArgument):
        Client(address)


def test_training_shows_its_progress(client: Client) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    seen: list[Training] = []
    client.train("acme/mood", on_progress=seen.append)
    assert [row.state for row in seen] == ["queued", "running", "succeeded"]
    assert [row.done for row in seen] == [False, False, True]


@pytest.mark.parametrize("where", ["TrainHead", "TrainHead.RUNNING"])
def test_a_training_whose_stream_breaks_is_joined_again(
    client: Client, recorder: Recorder, where: str
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    recorder.hooks[where] = [unavailable]
    assert client.train("acme/mood").version == 1
    assert len(recorder.asked("TrainHead")) == 2


def test_a_training_that_fails_raises_its_own_error(client: Client, recorder: Recorder) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")

    recorder.training_error = ("FAILED_PRECONDITION", "too few examples")
    with pytest.raises(trunkline.FailedPrecondition, match="too few"):
        client.train("acme/mood")


def test_a_cancelled_training_is_reported_as_such(client: Client) -> None:
    name = "tenants/acme/heads/mood/trainings/t1"
    assert client.cancel_training(name).state is TrainingState.CANCELLED
    assert client.get_training(name).progress == 0.5


def test_an_imported_head_is_bound_to_the_loaded_backbone(
    client: Client, recorder: Recorder
) -> None:
    version = client.import_head("acme/mood", b"", "minilm/l6-v2", labels=["a", "b"])
    assert (version.source, version.labels) == ("import", ("a", "b"))
    assert recorder.asked("ImportHead")[0].fingerprint == FINGERPRINT


def test_an_imported_head_brings_its_own_fingerprint(client: Client, recorder: Recorder) -> None:
    header = b'{"__metadata__": {"fingerprint": "cd"}}'
    file = struct.pack("<Q", len(header)) + header
    client.import_head("acme/mood", file, "minilm/l6-v2")
    assert recorder.asked("ImportHead")[0].fingerprint == "cd"
    assert recorder.asked("ListBackbones") == []


def test_a_timeout_that_is_none_is_refused(client: Client) -> None:
    with pytest.raises(trunkline.InvalidArgument, match="timeout"):
        client.backbones(timeout=0)
