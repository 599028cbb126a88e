"""Feedback, versions and forgetting against a real server, over both transports."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.e2e.conftest import TEXTS
from tests.e2e.learning import DIM, make_head, send_feedback, strangers
from tests.e2e.processes import Running
from tests.e2e.samples import vectors
from tests.e2e.transports import Grpc, Refused, Transport, text
from trunkline import Backbone, Client, Prediction, RowFailure, Vector
from trunkline.v1 import heads_pb2, prediction_pb2


@pytest.fixture
def fingerprint(backbones: dict[str, Backbone]) -> str:
    return backbones[TEXTS].fingerprint


def test_very_next_prediction_shows_the_correction(
    transport: Transport, tenant: str, fingerprint: str
) -> None:
    head = make_head(transport, tenant, fingerprint)
    inputs = strangers(fingerprint, 8)
    before = transport.predict(head, inputs).rows
    wrong = next(label for label in before[0].scores if label != before[0].label)
    for item in inputs[:6]:
        assert not send_feedback(transport, head, [(item, wrong)]).errors
    after = transport.predict(head, inputs).rows
    assert [row.label for row in after] == [wrong] * 8
    assert {row.version for row in after} == {1}


def test_gated_head_answers_as_before_and_tells_of_its_live_copy(
    transport: Transport, tenant: str, fingerprint: str
) -> None:
    head = make_head(transport, tenant, fingerprint, policy=heads_pb2.FEEDBACK_POLICY_UNSPECIFIED)
    inputs = strangers(fingerprint, 4)
    before = transport.predict(head, inputs).rows
    assert not send_feedback(transport, head, [(item, "class-1") for item in inputs]).errors
    assert transport.predict(head, inputs).rows == before
    described = transport.call("GetHead", heads_pb2.GetHeadRequest(name=head)).head
    assert described.policy == heads_pb2.FEEDBACK_POLICY_GATED
    assert described.live.state == heads_pb2.LIVE_STATE_LEARNING
    assert (described.live.feedback_count, described.live.scored) == (4, 4)
    assert described.live.base_version == 1
    assert described.live.example_count == 34


def test_dropped_feedback_is_quarantined_until_it_is_released(
    transport: Transport, tenant: str, fingerprint: str
) -> None:
    head = make_head(transport, tenant, fingerprint)
    inputs = strangers(fingerprint, 5)
    before = transport.predict(head, inputs).rows
    send_feedback(transport, head, [(item, "class-2") for item in inputs])
    dropped = transport.call("DropLiveCopy", heads_pb2.DropLiveCopyRequest(head=head))
    assert dropped.quarantined == 5
    assert transport.predict(head, inputs).rows == before
    quarantined = heads_pb2.FEEDBACK_STATE_QUARANTINED
    listing = heads_pb2.ListFeedbackRequest(head=head, state=quarantined)
    listed = transport.call("ListFeedback", listing).feedback
    assert [item.label for item in listed] == ["class-2"] * 5
    trained = transport.call("TrainHead", heads_pb2.TrainHeadRequest(head=head)).training
    version = heads_pb2.GetHeadVersionRequest(name=f"{head}/versions/{trained.version}")
    assert transport.call("GetHeadVersion", version).version.example_count == 30
    release = heads_pb2.ReleaseFeedbackRequest(head=head, all=True)
    assert transport.call("ReleaseFeedback", release).released == 5
    trained = transport.call("TrainHead", heads_pb2.TrainHeadRequest(head=head)).training
    version = heads_pb2.GetHeadVersionRequest(name=f"{head}/versions/{trained.version}")
    assert transport.call("GetHeadVersion", version).version.example_count == 35


def test_promoted_copy_becomes_a_version_and_rollback_brings_the_old_answers_back(
    transport: Transport, tenant: str, fingerprint: str
) -> None:
    head = make_head(transport, tenant, fingerprint, policy=heads_pb2.FEEDBACK_POLICY_MANUAL)
    inputs = strangers(fingerprint, 6)
    before = transport.predict(head, inputs).rows
    send_feedback(transport, head, [(item, "class-0") for item in inputs])
    assert transport.predict(head, inputs).rows == before
    promoted = transport.call("PromoteLiveCopy", heads_pb2.PromoteLiveCopyRequest(head=head))
    assert promoted.version.source == "feedback"
    assert (promoted.version.version, promoted.version.active) == (2, True)
    assert {row.label for row in transport.predict(head, inputs).rows} == {"class-0"}
    rollback = heads_pb2.ActivateHeadVersionRequest(name=f"{head}/versions/1")
    transport.call("ActivateHeadVersion", rollback)
    assert transport.predict(head, inputs).rows == before


@pytest.mark.parametrize("allowed", [True, False])
def test_new_label_makes_a_class_only_where_the_head_allows_it(
    transport: Transport, tenant: str, fingerprint: str, allowed: bool
) -> None:
    head = make_head(transport, tenant, fingerprint, allow_new_labels=allowed)
    inputs = strangers(fingerprint, 4)
    reply = send_feedback(transport, head, [(item, "novelty") for item in inputs])
    if allowed:
        assert not reply.errors
        assert {row.label for row in transport.predict(head, inputs).rows} == {"novelty"}
    else:
        assert [error.code for error in reply.errors] == ["INVALID_ARGUMENT"] * 4
        assert {(error.field, error.value) for error in reply.errors} == {("label", "novelty")}
        described = transport.call("GetHead", heads_pb2.GetHeadRequest(name=head)).head
        assert described.feedback_count == 0


def test_sets_and_novelty_come_when_they_are_asked_for(
    client: Client, tenant: str, fingerprint: str
) -> None:
    way = Grpc(client.address)
    spec = heads_pb2.HeadSpec(family="ridge", novelty=heads_pb2.Novelty(abstain=True))
    head = make_head(way, tenant, fingerprint, rows=120, spec=spec)
    way.close()
    known = Vector(fingerprint, vectors(3, DIM, seed=5, classes=3)[0][0])
    tensor = strangers(fingerprint, 1)[0].embedding.vector.data
    stranger = Vector(fingerprint, np.frombuffer(tensor, "<f4"))
    usual, odd = client.predict(head, [known, stranger], conformal_level=0.9)
    assert isinstance(usual, Prediction)
    assert isinstance(odd, Prediction)
    assert usual.label in (usual.prediction_set or ())
    assert not usual.novel
    assert odd.novel
    assert odd.label is None
    (plain,) = client.predict(head, [known])
    assert isinstance(plain, Prediction)
    assert plain.prediction_set is None


REFUSED: dict[str, tuple[str, object, str, str, str]] = {
    "level": (
        "Predict",
        prediction_pb2.PredictRequest(inputs=[text("x")], conformal_level=1.5),
        "INVALID_ARGUMENT",
        "conformal_level",
        "1.5",
    ),
    "strategy": (
        "SuggestExamples",
        heads_pb2.SuggestExamplesRequest(strategy="guess"),
        "INVALID_ARGUMENT",
        "strategy",
        "guess",
    ),
    "count": (
        "SuggestExamples",
        heads_pb2.SuggestExamplesRequest(count=1001),
        "INVALID_ARGUMENT",
        "count",
        "1001",
    ),
    "nothing to release": (
        "ReleaseFeedback",
        heads_pb2.ReleaseFeedbackRequest(),
        "INVALID_ARGUMENT",
        "ids",
        "0",
    ),
    "nothing to promote": (
        "PromoteLiveCopy",
        heads_pb2.PromoteLiveCopyRequest(),
        "FAILED_PRECONDITION",
        "head",
        "",
    ),
    "nothing to drop": (
        "DropLiveCopy",
        heads_pb2.DropLiveCopyRequest(),
        "FAILED_PRECONDITION",
        "head",
        "",
    ),
    "nothing to forget": (
        "ForgetExamples",
        heads_pb2.ForgetExamplesRequest(),
        "INVALID_ARGUMENT",
        "digests",
        "0",
    ),
    "front": (
        "UpdateHead",
        heads_pb2.UpdateHeadRequest(spec=heads_pb2.HeadSpec(front="back")),
        "INVALID_ARGUMENT",
        "front",
        "back",
    ),
    "views": (
        "UpdateHead",
        heads_pb2.UpdateHeadRequest(
            spec=heads_pb2.HeadSpec(augment=heads_pb2.Augmentation(views=33))
        ),
        "INVALID_ARGUMENT",
        "augment.views",
        "33",
    ),
    "false alarms": (
        "UpdateHead",
        heads_pb2.UpdateHeadRequest(
            spec=heads_pb2.HeadSpec(novelty=heads_pb2.Novelty(false_alarm_rate=1.0))
        ),
        "INVALID_ARGUMENT",
        "novelty.false_alarm_rate",
        "1.0",
    ),
    "class weight": (
        "UpdateHead",
        heads_pb2.UpdateHeadRequest(spec=heads_pb2.HeadSpec(class_weights={"a": -1.0})),
        "INVALID_ARGUMENT",
        "class_weights[a]",
        "-1.0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_request_names_field_and_value_and_changes_nothing(
    transport: Transport, tenant: str, fingerprint: str, case: str
) -> None:
    method, message, code, field, value = REFUSED[case]
    head = make_head(transport, tenant, fingerprint)
    described = transport.call("GetHead", heads_pb2.GetHeadRequest(name=head)).head
    request = type(message).FromString(message.SerializeToString())  # type: ignore[attr-defined]
    setattr(request, "name" if method == "UpdateHead" else "head", head)
    with pytest.raises(Refused) as refused:
        transport.call(method, request)
    assert (refused.value.code, refused.value.field) == (code, field), refused.value
    if value:
        assert refused.value.value == value
    assert transport.call("GetHead", heads_pb2.GetHeadRequest(name=head)).head == described


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf")])
def test_bad_weight_costs_its_row_alone(
    client: Client, tenant: str, fingerprint: str, weight: float
) -> None:
    way = Grpc(client.address)
    head = make_head(way, tenant, fingerprint)
    rows = [
        heads_pb2.NewExample(input=item, label="class-0", weight=each)
        for item, each in zip(strangers(fingerprint, 2), (weight, 2.0), strict=True)
    ]
    reply = way.call("AddExamples", heads_pb2.AddExamplesRequest(head=head, examples=rows))
    way.close()
    assert (reply.added, reply.failed) == (1, 1)
    assert (reply.errors[0].row, reply.errors[0].field) == (0, "weight")


def test_predictions_see_one_version_while_others_are_activated(
    client: Client, tenant: str, fingerprint: str
) -> None:
    way = Grpc(client.address)
    head = make_head(way, tenant, fingerprint)
    spec = heads_pb2.HeadSpec(family="ridge", l2=1e6)
    way.call("TrainHead", heads_pb2.TrainHeadRequest(head=head, spec=spec))
    way.close()
    probes = [Vector(fingerprint, v) for v, _ in vectors(20, DIM, seed=3, classes=3)]
    expected = {}
    for version in (1, 2):
        client.activate(head, version)
        expected[version] = scores(client.predict(head, probes))
    stop = threading.Event()

    def switch() -> None:
        with Client(client.address) as other:
            while not stop.is_set():
                for version in (1, 2):
                    other.activate(head, version)

    switching = threading.Thread(target=switch)
    switching.start()
    try:
        for _ in range(100):
            rows = client.predict(head, probes)
            versions = {row.version for row in rows if isinstance(row, Prediction)}
            assert len(versions) == 1
            assert scores(rows) == expected[versions.pop()]
    finally:
        stop.set()
        switching.join()


def scores(rows: list[Prediction | RowFailure]) -> list[dict[str, float]]:
    return [dict(row.scores) for row in rows if isinstance(row, Prediction)]


def test_two_clients_correct_one_head_at_once_and_nothing_is_lost(
    server: Running, tenant: str, fingerprint: str
) -> None:
    way = Grpc(server.grpc)
    head = make_head(way, tenant, fingerprint)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        own = Grpc(server.grpc)
        try:
            for item in strangers(fingerprint, 40, seed):
                assert not send_feedback(own, head, [(item, f"class-{seed % 3}")]).errors
                own.predict(head, [item])
        except BaseException as error:
            failures.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (100, 101, 102)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    way.predict(head, strangers(fingerprint, 1))
    live = way.call("GetHead", heads_pb2.GetHeadRequest(name=head)).head.live
    way.close()
    assert (live.feedback_count, live.scored, live.example_count) == (120, 120, 150)
