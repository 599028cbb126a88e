"""The client sends what examples are called, once for each input."""

from typing import cast

import pytest

from tests.trunkline.recording import Recorder
from trunkline import Client, InvalidArgument, NewExample
from trunkline.digest import text_digest


def sent(recorder: Recorder) -> list[str | None]:
    return [
        row.external_id if row.HasField("external_id") else None
        for request in recorder.asked("AddExamples")
        for row in request.examples
    ]


def test_an_input_that_comes_again_keeps_its_first_name(client: Client, recorder: Recorder) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    rows = [
        NewExample("good", "yes", external_id="a/1.txt"),
        NewExample("bad", "no"),
        NewExample("good", "yes", external_id="b/1.txt"),
        NewExample("bad", "no", external_id="b/2.txt"),
        NewExample("bad", "no", external_id=""),
    ]
    client.upload("acme/mood", rows)
    assert sent(recorder) == ["a/1.txt", None, None, "b/2.txt", None]
    listed = {row.digest: row.external_id for row in client.list_examples("acme/mood")}
    assert listed == {text_digest("good"): "a/1.txt", text_digest("bad"): "b/2.txt"}


def test_examples_are_listed_by_name(client: Client) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    rows = [NewExample(text, "yes", external_id=f"{text}.txt") for text in ("one", "two", "three")]
    client.add_examples("acme/mood", [*rows, ("four", "no")])
    names = ["three.txt", "one.txt", "other.txt"]
    found = client.list_examples("acme/mood", external_ids=names)
    assert [row.external_id for row in found] == ["one.txt", "three.txt"]


def test_what_no_message_can_carry_is_refused(client: Client) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    with pytest.raises(InvalidArgument, match="external_id"):
        client.add_examples("acme/mood", [NewExample("x", "yes", external_id=cast(str, 5))])
