import pytest

import trunkline
from tests.trunkline.recording import Recorder, refuse
from tests.trunkline.sample_reports import DIGEST, OTHER
from tests.trunkline.steps import TEXTS, trained
from trunkline import (
    Augmentation,
    Client,
    FeedbackState,
    HeadSpec,
    LiveState,
    NewExample,
    Novelty,
    Pixels,
    Policy,
    Prediction,
    Text,
    Vector,
)
from trunkline.digest import text_digest
from trunkline.v1 import heads_pb2

SPEC = HeadSpec(
    family="lda",
    seed=3,
    l2=0.5,
    front="normalise",
    class_weights={"yes": 2.0},
    augment=Augmentation(views=4, noise=0.2),
    novelty=Novelty(false_alarm_rate=0.1, abstain=True),
)


def head_with_feedback(client: Client) -> str:
    trained(client)
    client.feedback("acme/mood", [("good", "no"), ("bad", "yes"), ("fine", "no")])
    return "acme/mood"


def only(outcomes: list[Prediction | trunkline.RowFailure]) -> Prediction:
    (row,) = outcomes
    assert isinstance(row, Prediction)
    return row


def test_a_spec_comes_back_as_it_was_given(client: Client) -> None:
    head = client.create_head("acme/mood", "minilm/l6-v2", SPEC)
    assert head.spec == SPEC
    assert client.get_head("acme/mood").spec == SPEC


def test_a_spec_that_says_nothing_is_the_standard_one(client: Client, recorder: Recorder) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    assert not recorder.asked("CreateHead")[0].HasField("spec")
    assert client.get_head("acme/mood").spec == HeadSpec()


def test_the_policy_of_a_head_is_chosen_and_changed(client: Client) -> None:
    head = client.create_head(
        "acme/mood", "minilm/l6-v2", policy="immediate", allow_new_labels=True
    )
    assert (head.policy, head.allow_new_labels) == (Policy.IMMEDIATE, True)
    changed = client.update_head("acme/mood", policy=Policy.MANUAL)
    assert (changed.policy, changed.allow_new_labels) == (Policy.MANUAL, True)
    changed = client.update_head("acme/mood", SPEC, allow_new_labels=False)
    assert (changed.policy, changed.allow_new_labels) == (Policy.MANUAL, False)
    assert changed.spec == SPEC


def test_a_head_without_a_policy_is_gated(client: Client) -> None:
    assert client.create_head("acme/mood", "minilm/l6-v2").policy is Policy.GATED


def test_a_policy_that_is_none_is_refused(client: Client) -> None:
    with pytest.raises(trunkline.InvalidArgument, match="policy") as caught:
        client.update_head("acme/mood", policy="sometimes")
    assert caught.value.limit == "immediate, gated, manual"


def test_examples_carry_weights_and_are_held_out(client: Client, recorder: Recorder) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    heavy = NewExample("good", "yes", weight=2.5)
    client.upload("acme/mood", [heavy, NewExample("bad", "no", held_out=True), ("fine", "yes")])
    stored = {row.digest: row for row in client.list_examples("acme/mood")}
    assert [stored[text_digest(text)].weight for text in ("good", "bad", "fine")] == [2.5, 1, 1]
    held_out = [stored[text_digest(text)].held_out for text in ("good", "bad", "fine")]
    assert held_out == [False, True, False]


def test_a_prediction_without_more_asked_for_has_no_more(client: Client) -> None:
    trained(client)
    row = only(client.predict("acme/mood", ["good"]))
    assert (row.prediction_set, row.novelty, row.novel, row.live) == (None, None, False, False)


def test_prediction_sets_come_with_their_rows_and_may_be_empty(
    client: Client, recorder: Recorder
) -> None:
    trained(client)
    first, second = client.predict("acme/mood", ["good", "bad"], conformal_level=0.9)
    assert isinstance(first, Prediction)
    assert isinstance(second, Prediction)
    assert (first.prediction_set, second.prediction_set) == (("no",), ())
    assert recorder.asked("Predict")[0].conformal_level == 0.9


@pytest.mark.parametrize("abstain", [False, True])
def test_novel_rows_are_marked_and_unanswered_where_the_head_abstains(
    client: Client, abstain: bool
) -> None:
    spec = HeadSpec(novelty=Novelty(abstain=abstain))
    client.create_head("acme/mood", "minilm/l6-v2", spec)
    client.add_examples("acme/mood", TEXTS)
    client.train("acme/mood")
    known = only(client.predict("acme/mood", ["good"]))
    assert (known.label, known.novel, known.novelty) == ("yes", False, 0.5)
    novel = only(client.predict("acme/mood", ["never seen"]))
    assert (novel.novel, novel.novelty, novel.abstained) == (True, 1.5, abstain)
    assert novel.label == (None if abstain else "no")
    assert bool(novel.scores) is not abstain


def test_a_live_copys_answers_say_so(client: Client) -> None:
    trained(client)
    client.update_head("acme/mood", policy=Policy.IMMEDIATE)
    client.feedback("acme/mood", [("good", "no")])
    assert only(client.predict("acme/mood", ["good"])).live


def test_a_head_shows_its_live_copy(client: Client) -> None:
    trained(client)
    live = client.get_head("acme/mood").live
    assert live is not None
    assert (live.state, live.drift.detected, live.drift.time) == (LiveState.IDLE, False, None)
    client.feedback("acme/mood", [("good", "no")])
    live = client.get_head("acme/mood").live
    assert live is not None
    assert (live.state, live.base_version, live.scored) == (LiveState.LEARNING, 1, 1)
    assert (live.live_right, live.active_right, live.evidence_better) == (1, 0, 2.5)
    assert live.live_leave_one_out is None
    assert live.drift.detected
    assert live.drift.time is not None
    (listed,) = client.list_heads("acme")
    assert listed.live is None


def test_feedback_is_listed_page_by_page_and_by_state(client: Client) -> None:
    head = head_with_feedback(client)
    rows = list(client.list_feedback(head))
    assert [(row.label, row.state) for row in rows] == [
        ("no", FeedbackState.LIVE),
        ("yes", FeedbackState.LIVE),
        ("no", FeedbackState.LIVE),
    ]
    assert (rows[0].digest, rows[0].active_right, rows[0].live_right) == (
        text_digest("good"),
        False,
        True,
    )
    assert list(client.list_feedback(head, FeedbackState.QUARANTINED)) == []


def test_feedback_behind_a_dropped_copy_is_quarantined_until_it_is_released(
    client: Client,
) -> None:
    head = head_with_feedback(client)
    dropped = client.drop_live_copy(head)
    assert (dropped.quarantined, dropped.head.quarantined_count) == (3, 3)
    first, *_ = client.list_feedback(head, FeedbackState.QUARANTINED)
    changes = client.release_feedback(head, [first.id, "none"])
    assert (changes.changed, [row.row for row in changes.failures]) == (1, [1])
    assert client.release_feedback(head, None).changed == 2
    assert list(client.list_feedback(head, FeedbackState.QUARANTINED)) == []


def test_a_live_copy_is_promoted_to_a_version(client: Client) -> None:
    head = head_with_feedback(client)
    promoted = client.promote_live_copy(head)
    assert (promoted.version.version, promoted.version.source) == (2, "feedback")
    assert promoted.head.active_version == 2
    with pytest.raises(trunkline.FailedPrecondition):
        client.promote_live_copy(head)


def test_forgetting_reports_what_went_with_it(client: Client, recorder: Recorder) -> None:
    trained(client)
    client.create_head("acme/other", "minilm/l6-v2")
    result = client.forget_examples("acme/mood", [text_digest("good"), "0" * 64])
    assert (result.forgotten, result.deleted_versions, result.version) == (1, (1,), 2)
    assert [row.row for row in result.failures] == [1]
    assert result.held_by == ("tenants/acme/heads/other",)
    assert text_digest("good") not in recorder.examples["tenants/acme/heads/mood"]


def test_forgetting_is_not_repeated_once_it_was_sent(client: Client, recorder: Recorder) -> None:
    trained(client)
    recorder.hooks["ForgetExamples"] = [
        lambda _, context: refuse(context, "UNAVAILABLE", "going down")
    ]
    with pytest.raises(trunkline.Unavailable):
        client.forget_examples("acme/mood", [text_digest("good")])
    assert len(recorder.asked("ForgetExamples")) == 1


def test_many_digests_are_forgotten_in_bounded_requests(client: Client, recorder: Recorder) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    result = client.forget_examples("acme/mood", [f"{number:064x}" for number in range(5001)])
    assert [len(row.digests) for row in recorder.asked("ForgetExamples")] == [5000, 1]
    assert len(result.failures) == 5001
    assert result.failures[-1].row == 5000


def test_suggestions_name_what_is_worth_a_label(client: Client, recorder: Recorder) -> None:
    trained(client)
    client.add_examples("acme/mood", [("later", None), ("last", None)])
    found = client.suggest_examples("acme/mood", 1, "diverse")
    assert found.strategy == "diverse"
    (first,) = found.suggestions
    assert (first.example.digest, first.example.label) == (text_digest("later"), None)
    assert (first.predicted_label, first.input) == ("no", None)
    assert first.probability == pytest.approx(0.6)


@pytest.mark.parametrize(
    "item", [Text("hello"), Pixels(memoryview(bytes(12)).cast("B", (2, 2, 3))), Vector("ab", [1.0])]
)
def test_suggestions_bring_inputs_that_are_kept(client: Client, item: trunkline.Text) -> None:
    client.create_head("acme/mood", "minilm/l6-v2", keep_inputs=True)
    client.add_examples("acme/mood", [(item, None)])
    (first,) = client.suggest_examples("acme/mood").suggestions
    assert (first.input, first.predicted_label) == (item, None)


def test_a_head_is_exported_as_onnx_with_its_card(client: Client) -> None:
    trained(client)
    assert client.export_head("acme/mood").onnx is None
    export = client.export_head("acme/mood", onnx=True)
    assert (export.onnx, export.model_card) == (b"graph", "# mood")


def test_a_report_has_all_its_parts(client: Client) -> None:
    trained(client)
    report = client.report("acme/mood")
    assert report.evaluation is not None
    assert report.evaluation.confusion == ((8, 1), (1, 8))
    assert report.evaluation.classes[0].recall == 0.8
    assert [row.examples for row in report.evaluation.reliability] == [5, 6]
    assert report.test is not None
    assert report.test.estimate.method == "held-out"
    assert [row.examples for row in report.learning_curve] == [2, 4, 9, 18]
    (suspect,) = report.likely_mislabelled
    assert (suspect.digest, suspect.predicted_label) == (DIGEST, "yes")
    (pair,) = report.near_duplicates
    assert (pair.digest, pair.other_digest) == (DIGEST, OTHER)
    assert report.augmentation is not None
    assert report.augmentation.averaged is None
    assert report.novelty is not None
    assert report.novelty.abstain
    assert [row.live_accuracy for row in report.online] == [0.6, 0.9]
    assert [(row.family, row.l2) for row in report.candidates][1:] == [
        ("prototype", None),
        ("lda", None),
    ]
    assert report.train_cpu_seconds == 0.4


def test_a_report_whose_matrix_has_another_shape_is_data_loss(
    client: Client, recorder: Recorder
) -> None:
    trained(client)
    version = recorder.versions["tenants/acme/heads/mood"][0]
    version.labels.extend(["third", "fourth"])
    recorder.confusion = [[1, 0], [0, 1]]
    with pytest.raises(trunkline.DataLoss, match="confusion"):
        client.report("acme/mood")


def test_a_state_that_this_client_does_not_know_is_data_loss(
    client: Client, recorder: Recorder
) -> None:
    head = head_with_feedback(client)
    record = recorder.feedback["tenants/acme/heads/mood"][0]
    record.MergeFrom(heads_pb2.FeedbackRecord.FromString(b"\x20\x63"))
    with pytest.raises(trunkline.DataLoss, match="99"):
        list(client.list_feedback(head))
