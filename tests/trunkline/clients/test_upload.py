from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest

import trunkline
from tests.trunkline.recording import FINGERPRINT, Recorder, refuse
from tests.trunkline.steps import TEXTS, trained, unavailable
from trunkline import (
    Client,
    Image,
    Prediction,
    RowFailure,
    Text,
    UploadProgress,
    Vector,
)
from trunkline.digest import image_digest, text_digest


def test_an_upload_sends_no_byte_the_server_knows(client: Client, recorder: Recorder) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    client.upload("acme/mood", TEXTS[:2])
    recorder.requests.clear()
    seen: list[UploadProgress] = []
    result = client.upload("acme/mood", TEXTS, seen.append)
    kinds = [
        example.input.WhichOneof("kind")
        for request in recorder.asked("AddExamples")
        for example in request.examples
    ]
    assert kinds == ["digest", "digest", "text", "text"]
    assert (result.rows, result.known, result.added, result.unchanged) == (4, 2, 2, 2)
    assert result.sent_bytes == len("bad") + len("awful")
    assert seen[-1] == UploadProgress(4, 2, result.sent_bytes)


def test_an_input_that_occurs_twice_is_sent_once_and_its_last_label_wins(
    client: Client, recorder: Recorder
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    client.upload("acme/mood", [("x", "a"), ("x", "b"), ("y", "a"), ("x", "c")])
    assert recorder.examples["tenants/acme/heads/mood"][text_digest("x")] == "c"
    sent = [
        example.input.text
        for request in recorder.asked("AddExamples")
        for example in request.examples
        if example.input.WhichOneof("kind") == "text"
    ]
    assert sent == ["x", "y"]


def test_an_interrupted_upload_continues_where_it_stopped(
    client: Client, recorder: Recorder
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    items = [(f"text {index}", "a") for index in range(400)]
    recorder.hooks["AddExamples"] = [lambda *_: None, lambda *_: None, unavailable]
    result = client.upload("acme/mood", items)
    assert len(recorder.examples["tenants/acme/heads/mood"]) == 400
    assert (result.rows, result.failed) == (400, 0)
    sent = Counter(
        row.input.text for request in recorder.asked("AddExamples") for row in request.examples
    )
    stored_before = [text for text, _ in items[:256]]
    assert [sent[text] for text in stored_before] == [1] * 256


def test_progress_counts_what_the_server_has_acknowledged(
    client: Client, recorder: Recorder, tmp_path: Path
) -> None:
    seen: list[UploadProgress] = [UploadProgress(0, 0, 0)]
    told: list[int] = []
    client.create_head("acme/mood", "minilm/l6-v2")
    recorder.hooks["AddExamples"] = [lambda *_: told.append(seen[-1].rows)] * 2
    items: list[Any] = [(f"text {index}", "a") for index in range(400)]
    client.upload("acme/mood", [*items, (tmp_path / "none.png", "a")], seen.append)
    assert told == [0, 129], "while the server has a message, its rows do not count"
    assert seen[-1].rows == 401


def test_an_upload_that_never_moves_on_ends_with_the_error(
    client: Client, recorder: Recorder
) -> None:
    def full(_: Any, context: grpc.ServicerContext) -> None:
        refuse(context, "RESOURCE_EXHAUSTED", "queue full", retry_seconds=0.001)

    client.create_head("acme/mood", "minilm/l6-v2")
    recorder.hooks["AddExamples"] = [full] * 100
    with pytest.raises(trunkline.ResourceExhausted):
        client.upload("acme/mood", TEXTS)
    assert len(recorder.asked("AddExamples")) < 20


def test_an_embedding_forgotten_in_between_is_sent_after_all(
    client: Client, recorder: Recorder
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    client.upload("acme/mood", TEXTS)
    examples = recorder.examples["tenants/acme/heads/mood"]
    recorder.hooks["AddExamples"] = [lambda *_: examples.pop(text_digest("good"))]
    result = client.upload("acme/mood", TEXTS)
    assert (result.rows, result.failed, result.known) == (4, 0, 3)
    assert text_digest("good") in examples


def test_failed_rows_of_an_upload_are_named_by_their_place(
    client: Client, recorder: Recorder, tmp_path: Path
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    recorder.bad_digests.add(text_digest("broken"))
    items: list[tuple[Any, str]] = [("x", "a"), ("x", "a"), ("broken", "a"), (tmp_path, "a")]
    result = client.upload("acme/mood", items)
    assert [(row.row, row.code) for row in result.failures] == [
        (2, "INVALID_ARGUMENT"),
        (3, "INVALID_ARGUMENT"),
    ]
    assert (result.rows, result.failed, result.added, result.unchanged) == (4, 2, 1, 1)


def test_every_copy_of_an_input_that_is_refused_is_counted_and_named(
    client: Client, recorder: Recorder
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    recorder.bad_digests.add(text_digest("bad"))
    rows = [("bad", "yes"), ("good", "yes"), ("bad", "yes"), ("bad", "no"), ("fine", "no")]
    result = client.upload("acme/mood", [*rows, ("bad", "no"), ("good", "yes")])
    assert (result.rows, result.added, result.unchanged, result.failed) == (7, 2, 1, 4)
    assert [(row.row, row.code) for row in result.failures] == [
        (row, "INVALID_ARGUMENT") for row in (0, 2, 3, 5)
    ]


def test_an_error_of_the_callers_own_ends_the_upload(client: Client) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")

    def stop(_: UploadProgress) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        client.upload("acme/mood", TEXTS, stop)


def test_every_kind_of_input_is_uploaded_under_its_digest(
    client: Client, recorder: Recorder, tmp_path: Path
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    file = tmp_path / "a.png"
    file.write_bytes(b"image in a file")
    pixels = memoryview(bytes(12)).cast("B", (2, 2, 3))
    kinds: list[Any] = [
        file,
        b"image",
        Image(b"other image"),
        Text(b"\xff"),
        trunkline.Pixels(pixels),
        Vector(FINGERPRINT, [1.0, 2.0]),
    ]
    result = client.upload("acme/mood", [(item, "a") for item in kinds])
    assert (result.added, result.failed) == (6, 0)
    stored = recorder.examples["tenants/acme/heads/mood"]
    assert image_digest(b"image in a file") in stored
    assert client.upload("acme/mood", [(item, "a") for item in kinds]).known == 6


def test_an_input_too_large_for_any_message_costs_its_own_row_alone(client: Client) -> None:
    trained(client)
    large, good = client.predict("acme/mood", ["x" * (32 * 2**20 + 1), "good"])
    assert isinstance(large, RowFailure)
    assert (large.code, large.limit) == ("RESOURCE_EXHAUSTED", str(32 * 2**20))
    assert large.value == str(32 * 2**20 + 1)
    assert isinstance(good, Prediction)


@pytest.mark.parametrize(("rows", "messages"), [(4, 1), (300, 3)])
def test_an_upload_has_the_timeout_for_each_of_its_messages(
    client: Client, recorder: Recorder, rows: int, messages: int
) -> None:
    left: dict[grpc.ServicerContext, list[float]] = {}

    def note(_: Any, context: grpc.ServicerContext) -> None:
        left.setdefault(context, []).append(context.time_remaining())

    client.create_head("acme/mood", "minilm/l6-v2")
    recorder.hooks["AddExamples"] = [note] * messages
    items = [(f"text {row}", "a") for row in range(rows)]
    client.add_examples("acme/mood", items, timeout=100)
    assert sum(map(len, left.values())) == messages
    for seconds in left.values():  # of a stream
        assert 100 * (len(seconds) - 1) < seconds[0] < 100 * len(seconds) + 1


CHANGE = trunkline.UploadChange


def test_rows_that_repeat_an_input_are_told_by_their_place_over_the_whole_upload(
    client: Client, recorder: Recorder
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    items: list[Any] = [("x", "a"), ("y", "a"), ("x", "b"), ("y", "a"), ("x", None)]
    items += [(f"text {row}", "a") for row in range(5000)]
    items += [("y", "c"), ("y", "cafe\u0301"), ("y", "caf\u00e9")]
    result = client.upload("acme/mood", items)
    assert [(row.row, row.change, row.from_label, row.to_label) for row in result.changes] == [
        (2, CHANGE.ROW_CONTRADICTED, "a", "b"),
        (3, CHANGE.ROW_REPEATED, None, None),
        (4, CHANGE.ROW_REPEATED, None, None),
        (5005, CHANGE.ROW_CONTRADICTED, "a", "c"),
        (5006, CHANGE.ROW_CONTRADICTED, "c", "caf\u00e9"),
        (5007, CHANGE.ROW_REPEATED, None, None),
    ]
    assert result.change_counts == {CHANGE.ROW_CONTRADICTED: 3, CHANGE.ROW_REPEATED: 3}
    stored = recorder.examples["tenants/acme/heads/mood"]
    assert (stored[text_digest("x")], stored[text_digest("y")]) == ("b", "caf\u00e9")


def test_no_message_brings_up_a_label_that_a_later_row_takes_back(
    client: Client, recorder: Recorder
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    recorder.bad_digests.add(text_digest("broken"))
    items: list[tuple[str, str | None]] = [("x", None), ("y", "a"), ("broken", "a"), ("x", "a")]
    items += [("x", "b"), ("y", " bad "), ("y", ""), ("broken", "a")]
    result = client.upload("acme/mood", items)
    first, repeated = recorder.asked("AddExamples")[:2]
    assert [row.label for row in first.examples] == ["b", "a", "a"]
    # Two of y would be refused, which costs these rows alone.
    assert [row.label for row in repeated.examples] == ["b", "b", " bad ", "", "a"]
    told = [(row.row, row.change) for row in result.changes if row.digest != text_digest("y")]
    assert told == [(3, CHANGE.ROW_REPEATED), (4, CHANGE.ROW_CONTRADICTED)]


def test_a_change_is_named_by_the_row_that_gave_the_label(
    client: Client, recorder: Recorder
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    client.upload("acme/mood", [("x", "a"), ("z", "a")])
    recorder.corrections[text_digest("z")] = "b"
    result = client.upload("acme/mood", [("x", "b"), ("y", "a"), ("x", "c"), ("z", "a")])
    found = {row.row: row for row in result.changes if row.change not in list(CHANGE)[3:5]}
    assert found == {
        2: trunkline.ChangedRow(2, text_digest("x"), CHANGE.LABEL_REPLACED, "a", "c"),
        3: trunkline.ChangedRow(3, text_digest("z"), CHANGE.CORRECTION_KEPT, "a", "b"),
    }
    (again,) = client.add_examples("acme/mood", [("z", "a")], overwrite=True).changes
    assert (again.change, again.to_label) == (CHANGE.CORRECTION_REPLACED, "a")


def test_a_correction_that_stands_is_told_once_however_often_its_input_occurs(
    client: Client, recorder: Recorder
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    client.upload("acme/mood", [("z", "a")])
    recorder.corrections[text_digest("z")] = "b"
    result = client.upload("acme/mood", [("z", "a"), ("y", "a"), ("z", "a")])
    assert result.change_counts == {CHANGE.CORRECTION_KEPT: 1, CHANGE.ROW_REPEATED: 1}


def test_an_interrupted_upload_says_so_and_repeats_nothing_as_a_change(
    client: Client, recorder: Recorder
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    items: list[Any] = [(f"text {index}", "a") for index in range(200)]
    items += [("text 0", "b"), ("text 1", "b")]
    recorder.hooks["AddExamples"] = [lambda *_: None] * 2 + [unavailable]
    result = client.upload("acme/mood", items)
    assert result.interruptions == 1
    assert result.change_counts == {CHANGE.ROW_CONTRADICTED: 2}
