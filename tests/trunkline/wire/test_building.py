"""Values that no message can carry are `InvalidArgument`s, raised before anything is sent."""

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trunkline
from tests.trunkline.recording import Recorder, Server
from tests.trunkline.steps import trained
from trunkline import AsyncClient, Client, HeadSpec, NewExample, RowFailure, Upload
from trunkline.values.heads import Augmentation, FineTune, Novelty

ANY: Any = "abc"
TORN = "\udc80"
WHOLE = "a whole number from 0 to 4294967295"
NUMBER = "a floating-point number"
TEXT = "Unicode text"
WEIGHTS = f"a mapping of {TEXT} to {NUMBER}"

MISFITS: list[tuple[Callable[[Client], Any], str, str, str]] = [
    (lambda c: c.feedback("a/b", [("x", "y"), ("x", TORN)]), "label", TEXT, "'\\udc80'"),
    (lambda c: c.update_examples("a/b", {"0" * 64: TORN}), "label", TEXT, "'\\udc80'"),
    (lambda c: c.update_examples("a/b", {TORN: "y"}), "digest", TEXT, "'\\udc80'"),
    (lambda c: c.add_examples("a/b", [("x", TORN)]), "label", TEXT, "'\\udc80'"),
    (lambda c: c.upload("a/b", [("x", "y"), ("x", TORN)]), "label", TEXT, "'\\udc80'"),
    (lambda c: c.upload("a/b", [NewExample("x", "y", ANY)]), "weight", NUMBER, "'abc'"),
    (lambda c: c.list_examples("a/b", TORN).__next__(), "label", TEXT, "'\\udc80'"),
    (lambda c: c.find_missing("a/b", ["x", TORN]), "digests", TEXT, "'\\udc80'"),
    (lambda c: c.delete_examples("a/b", ["x", TORN]), "digests", TEXT, "'\\udc80'"),
    (lambda c: c.forget_examples("a/b", [TORN]), "digests", TEXT, "'\\udc80'"),
    (lambda c: c.release_feedback("a/b", [TORN]), "ids", TEXT, "'\\udc80'"),
    (lambda c: c.suggest_examples("a/b", -1), "count", WHOLE, "-1"),
    (lambda c: c.suggest_examples("a/b", 1, TORN), "strategy", TEXT, "'\\udc80'"),
    (lambda c: c.create_head("a/b", TORN), "backbone", TEXT, "'\\udc80'"),
    (lambda c: c.update_head("a/b", HeadSpec(l2=ANY)), "l2", NUMBER, "'abc'"),
    (lambda c: c.train("a/b", HeadSpec(seed=-1)), "seed", WHOLE, "-1"),
    (lambda c: c.train("a/b", HeadSpec(l2=10**400)), "l2", NUMBER, "1" + "0" * 99 + "…"),
    (
        lambda c: c.train("a/b", HeadSpec(class_weights={"a": 1.0, TORN: 2.0})),
        "class_weights",
        WEIGHTS,
        "{'\\udc80': 2.0}",
    ),
    (lambda c: c.train("a/b", HeadSpec(augment=Augmentation(-2))), "views", WHOLE, "-2"),
    (
        lambda c: c.train("a/b", HeadSpec(novelty=Novelty(ANY))),
        "false_alarm_rate",
        NUMBER,
        "'abc'",
    ),
    (lambda c: c.train("a/b", HeadSpec(fine_tune=FineTune(TORN))), "strategy", TEXT, "'\\udc80'"),
    (
        lambda c: c.train("a/b", HeadSpec(fine_tune=FineTune("tail", -1))),
        "max_epochs",
        WHOLE,
        "-1",
    ),
    (lambda c: c.train("a/b", backbone=TORN), "backbone", TEXT, "'\\udc80'"),
    (lambda c: c.load_backbone(TORN), "name", TEXT, "'\\udc80'"),
    (lambda c: c.unload_backbone(TORN), "name", TEXT, "'\\udc80'"),
    (lambda c: c.predict("a/b", ["x"], average_views=-1), "average_views", WHOLE, "-1"),
    (lambda c: c.predict("a/b", ["x"], average_views=ANY), "average_views", WHOLE, "'abc'"),
    (lambda c: c.predict("a/b", ["x"], top_k=-1), "top_k", WHOLE, "-1"),
    (lambda c: c.predict("a/b", ["x"], version=2**32), "version", WHOLE, "4294967296"),
    (
        lambda c: c.predict("a/b", ["x"], conformal_level=ANY),
        "conformal_level",
        NUMBER,
        "'abc'",
    ),
    (lambda c: c.embed("a", ["x"], TORN), "backbone", TEXT, "'\\udc80'"),
    (lambda c: c.export_head("a/b", -1), "version", WHOLE, "-1"),
    (lambda c: c.import_head("a/b", ANY, "m", fingerprint="f"), "safetensors", "bytes", "'abc'"),
    (
        lambda c: c.import_head("a/b", b"", "m", fingerprint="f", labels=[TORN]),
        "labels",
        TEXT,
        "'\\udc80'",
    ),
    (lambda c: c.get_training(TORN), "name", TEXT, "'\\udc80'"),
    (
        lambda c: c.list_feedback("a/b", ANY).__next__(),
        "state",
        "live, learned, quarantined, superseded",
        "abc",
    ),
]


@pytest.mark.parametrize(("call", "field", "limit", "value"), MISFITS)
def test_a_value_that_does_not_fit_is_named_with_its_field_and_limit(
    client: Client,
    recorder: Recorder,
    call: Callable[[Client], Any],
    field: str,
    limit: str,
    value: str,
) -> None:
    with pytest.raises(trunkline.InvalidArgument) as caught:
        call(client)
    error = caught.value
    assert (error.field, error.limit, error.value) == (field, limit, value)
    assert error.message.startswith(f"{field} must be ")
    assert error.message.isascii() or "…" in error.message
    assert recorder.requests == []


async def test_both_clients_name_it(recorder: Recorder, server: Server) -> None:
    async with AsyncClient(server.address) as client:
        with pytest.raises(trunkline.InvalidArgument, match="label must be Unicode text"):
            await client.upload("a/b", [("x", TORN)])
        with pytest.raises(trunkline.InvalidArgument, match="seed must be a whole number"):
            await client.train("a/b", HeadSpec(seed=-1))
    assert recorder.requests == []


def test_a_bad_label_far_down_lets_no_feedback_be_stored(
    client: Client, recorder: Recorder
) -> None:
    trained(client)
    with pytest.raises(trunkline.InvalidArgument):
        client.feedback("acme/mood", [("x", "yes")] * 200 + [("x", TORN)])
    assert recorder.feedback_ids == set()


def test_a_torn_text_or_fingerprint_costs_its_own_row_alone(client: Client) -> None:
    trained(client)
    torn = trunkline.Embedding(array("f", [1.0]), "0" * 64, "minilm/l6-v2", TORN)
    for outcomes in (
        client.predict("acme/mood", [TORN, torn, "good"]),
        client.feedback("acme/mood", [(TORN, "yes"), (torn, "yes"), ("good", "yes")]),
    ):
        assert [isinstance(row, RowFailure) for row in outcomes] == [True, True, False]
    result: Upload = client.add_examples("acme/mood", [(TORN, "yes"), (torn, "no"), ("new", "no")])
    assert [(row.row, row.field) for row in result.failures] == [(0, "input"), (1, "fingerprint")]
    assert result.added == 1


def test_a_file_that_goes_during_the_upload_is_named_by_the_error(
    client: Client, recorder: Recorder, tmp_path: Path
) -> None:
    client.create_head("acme/mood", "efficientnet/lite0")
    file = tmp_path / "a.png"
    file.write_bytes(b"image")
    recorder.hooks["FindMissingInputs"] = [lambda *_: file.unlink()]
    with pytest.raises(trunkline.Aborted, match="a file changed"):
        client.upload("acme/mood", [(file, "a")])
