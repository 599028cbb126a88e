"""Rules by which answers are accepted, as the client sends them and reads what they come to."""

from __future__ import annotations

import json

import pytest

from tests.trunkline.recording import Recorder
from tests.trunkline.steps import TEXTS, Run, trained
from trunkline import Acceptance, Client, Decide, Decision, InvalidArgument, Prediction
from trunkline.errors import DataLoss
from trunkline.replies import predictions
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2


def test_rules_are_sent_kept_and_taken_away(client: Client, recorder: Recorder) -> None:
    made = client.create_head("acme/mood", "minilm/l6-v2", decide=Decide(0.98, 0.9))
    assert made.decide == Decide(0.98, 0.9)
    assert client.update_head("acme/mood", allow_new_labels=True).decide == Decide(0.98, 0.9)
    client.update_head("acme/mood", decide=0.97)
    sent = [request for name, request in recorder.requests if name == "UpdateHead"]
    assert sent[-1].decide == heads_pb2.Decide(precision=0.97)
    assert client.update_head("acme/mood", decide=0).decide is None
    with pytest.raises(InvalidArgument, match="precision"):
        client.update_head("acme/mood", decide="much")  # type: ignore[arg-type]


def test_what_a_head_accepts_is_read(client: Client, recorder: Recorder) -> None:
    client.create_head("acme/mood", "minilm/l6-v2", decide=0.9)
    (head,) = recorder.heads.values()
    head.decide.acceptance.CopyFrom(heads_pb2.Acceptance(version=2, reason="too few examples"))
    decide = client.get_head("acme/mood").decide
    assert decide is not None
    assert decide.acceptance == Acceptance(2, None, 0, 0, 0, 0, 0, 0, "too few examples")


def test_each_answer_has_its_decision(client: Client) -> None:
    trained(client)
    plain = client.predict("acme/mood", ["good"])[0]
    assert isinstance(plain, Prediction)
    assert plain.decision is None
    client.update_head("acme/mood", decide=0.9)
    known = TEXTS[0][0]
    found = client.predict("acme/mood", [known, "never seen"])
    decisions = [row.decision for row in found if isinstance(row, Prediction)]
    assert decisions == [Decision.ACCEPT, Decision.REVIEW]


def test_commands_print_the_decision_and_change_the_rule(run: Run, client: Client) -> None:
    trained(client)
    assert "decides" not in run("heads", "show", "acme/mood").stdout
    alone = run("heads", "update", "acme/mood", "--decide-confidence", "0.9")
    assert alone.exit_code == 2
    assert "--decide-precision" in alone.stderr
    run("heads", "update", "acme/mood", "--decide-precision", "0.9")
    run("heads", "update", "acme/mood", "--decide-confidence", "0.99")
    assert client.get_head("acme/mood").decide == Decide(0.9, 0.99)
    shown = run("heads", "show", "acme/mood").stdout
    assert "0.9 right of those accepted, at 0.99 confidence" in shown
    known = TEXTS[0][0]
    assert run("predict", "acme/mood", "--text", known).stdout.endswith("\taccept\n")
    row = json.loads(run("predict", "acme/mood", "--text", "never seen", "--json").stdout)
    assert row["decision"] == "review"
    assert run("predict", "acme/mood", "--text", known, "--csv").stdout.count(",accept,") == 1
    run("heads", "update", "acme/mood", "--decide-precision", "0")
    assert client.get_head("acme/mood").decide is None


def test_report_has_the_curve_and_what_the_rule_makes_of_it(run: Run, client: Client) -> None:
    trained(client)
    curve = client.report("acme/mood").decisions
    assert curve is not None
    assert [point.accepted for point in curve.points] == [4, 8, 12, 16]
    assert curve.decide is not None
    assert curve.decide.acceptance is not None
    assert curve.decide.acceptance.threshold == 0.5
    told = " ".join(run("report", "acme/mood").stdout.split())
    assert "what could be accepted without a look" in told
    assert "50.0% 0.5000 100.0% 90.0% to 100.0%" in told
    assert "more probable than 0.5000: 50.0% of 16 held-out predictions" in told


@pytest.mark.parametrize("numbers", [[1], [1, 7]])
def test_decisions_that_do_not_fit_are_no_answer(numbers: list[int]) -> None:
    def tensor(dtype: str, data: bytes) -> common_pb2.Tensor:
        return common_pb2.Tensor(dtype=dtype, shape=[2, 1], data=data)

    group = prediction_pb2.HeadPredictions(
        rows=[0, 1],
        labels=["yes"],
        indices=tensor("uint32", bytes(8)),
        probabilities=tensor("float32", bytes(8)),
        decisions=map(prediction_pb2.Decision.ValueType, numbers),
    )
    reply = prediction_pb2.PredictResponse(predictions=[group], digests=["a", "b"])
    with pytest.raises(DataLoss, match="decision"):
        predictions(reply, 2)
