"""The client sends what is to be kept of the traffic, and what is said of each input."""

from typing import Any, cast

import pytest

from tests.trunkline.recording import Recorder
from tests.trunkline.steps import Run
from trunkline import Client, InvalidArgument
from trunkline.rows.chunking import MAX_MESSAGE_ROWS
from trunkline.v1 import prediction_pb2
from trunkline.values.capture import Capture

RULES = Capture(share=0.5, per_hour=7, random_share=0.01, days=3)


def test_rules_are_sent_read_and_taken_away(client: Client) -> None:
    assert client.create_head("acme/mood", "minilm/l6-v2", capture=RULES).capture == RULES
    assert client.update_head("acme/mood", policy="manual").capture == RULES
    assert client.update_head("acme/mood", capture=Capture()).capture == Capture()
    assert client.update_head("acme/mood", capture=False).capture is None
    with pytest.raises(InvalidArgument, match="capture must be a Capture"):
        client.update_head("acme/mood", capture=True)


def predicted(recorder: Recorder) -> list[prediction_pb2.PredictRequest]:
    return list(recorder.asked("Predict"))


def test_names_go_with_their_inputs_in_every_part(
    client: Client, recorder: Recorder, run: Run, table: Any
) -> None:
    run("train", "acme/mood", table)
    count = MAX_MESSAGE_ROWS + 2
    ids = [str(number) for number in range(count)]
    said = [{"line": name} for name in ids]
    client.predict("acme/mood", ids, capture="always", external_ids=ids, metadata=said)
    first, second = predicted(recorder)
    assert [*first.external_ids, *second.external_ids] == ids
    assert [dict(row.pairs) for row in second.metadata] == said[-2:]
    assert second.capture == prediction_pb2.CAPTURE_CHOICE_ALWAYS


def test_what_is_not_said_of_each_input_is_refused(client: Client) -> None:
    with pytest.raises(InvalidArgument, match=r"one for each input \(2\), are 1"):
        client.predict("acme/mood", ["a", "b"], external_ids=["x"])
    with pytest.raises(InvalidArgument, match="pairs"):
        client.predict("acme/mood", ["a"], metadata=cast(Any, [{"a": 5}]))
    with pytest.raises(InvalidArgument, match="always or never"):
        client.predict("acme/mood", ["a"], capture="sometimes")


def test_commands_make_rules_of_their_options(run: Run, client: Client) -> None:
    run("heads", "create", "acme/mood", "--backbone", "minilm/l6-v2")
    assert run("heads", "update", "acme/mood", "--capture-days", "3").exit_code == 2
    rules = ("--capture", "random=0.01", "--capture", "uncertain", "--capture-per-hour", "7")
    changed = run("heads", "update", "acme/mood", *rules)
    assert "are stored from now on" in changed.stderr
    assert client.get_head("acme/mood").capture == Capture(
        random_share=0.01, uncertain_share=1.0, per_hour=7
    )
    run("heads", "update", "acme/mood", "--capture", "novel=0.5")
    assert client.get_head("acme/mood").capture == Capture(novel_share=0.5, per_hour=7)
    assert run("heads", "update", "acme/mood", "--capture", "odd=1").exit_code == 2
    both = ("--no-capture", "--capture-days", "3")
    assert run("heads", "update", "acme/mood", *both).exit_code == 2
    shown = run("heads", "show", "acme/mood").stdout
    assert "0.5 novel; at most 7 an hour" in shown
    run("heads", "update", "acme/mood", "--no-capture")
    assert client.get_head("acme/mood").capture is None
