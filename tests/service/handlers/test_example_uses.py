"""What examples are for: training, testing, weighing, and what a report says of them."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import PreconditionFailed
from service.requests.tensors import from_tensor, to_tensor
from tests.service.learning_head import LearningHead, around, vector_input
from tests.service.server import HEAD, LABELS, InProcessServer, best, import_request, texts
from tests.service.tiny_backbone import DIM, FINGERPRINT
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2


async def test_held_out_examples_measure_a_version_and_train_none(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add(LABELS)
    tests = {"red t": "red", "blue t": "blue", "blue wrong": "red", "blue u": "no such class"}
    await server.add_rows(
        *(
            heads_pb2.NewExample(input=common_pb2.Input(text=text), label=label, held_out=True)
            for text, label in tests.items()
        )
    )
    await server.train()
    report = await server.report()
    assert report.example_count == len(LABELS)
    assert report.test.estimate.accuracy == pytest.approx(2 / 4)
    confusion = from_tensor(report.test.confusion, field="c", dtypes=("uint32",))
    assert confusion.tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 0]]
    assert [item.label for item in report.test.classes] == ["blue", "red", "no such class"]
    head = await server.head()
    assert (head.labelled_count, head.held_out_count) == (8, 4)


async def test_versions_are_measured_on_what_is_held_out_when_they_are_made(
    server: InProcessServer,
) -> None:
    async def hold_out(text: str) -> None:
        row = heads_pb2.NewExample(
            input=common_pb2.Input(text=text), label=text.split()[0], held_out=True
        )
        await server.add_rows(row)

    async def measured_on(version: int | str = "active") -> int:
        report = await server.report(version=version)
        return sum(item.examples for item in report.test.classes)

    await server.create()
    await server.add(LABELS)
    await server.train()
    await hold_out("red t")
    assert await measured_on(1) == 0
    await server.train()
    await hold_out("blue t")
    assert [await measured_on(version) for version in (1, 2)] == [0, 1]
    await server.train()
    learned_before = next(text for text, label in LABELS.items() if label == "red")
    row = heads_pb2.NewExample(
        input=common_pb2.Input(text=learned_before), label="red", held_out=True
    )
    await server.add_rows(row)
    assert [await measured_on(version) for version in (1, 2, 3)] == [0, 1, 2]
    await server.train()
    assert [await measured_on(version) for version in (1, 2, 3, 4)] == [0, 1, 2, 3]


async def test_held_out_examples_of_a_trained_group_are_named_and_not_measured_on(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add(LABELS)
    rows = [("red x", "scene", False), ("red y", "scene", True), ("blue t", None, True)]
    await server.add_rows(
        *(
            heads_pb2.NewExample(
                input=common_pb2.Input(text=text),
                label=text.split()[0],
                group=group,
                held_out=held_out,
            )
            for text, group, held_out in rows
        )
    )
    await server.train()
    report = await server.report()
    assert (report.seen_held_out_count, list(report.seen_held_out)) == (1, [text_digest("red y")])
    assert sum(item.examples for item in report.test.classes) == 1
    assert any("1 of 2 held-out examples" in warning for warning in report.warnings)


async def test_head_without_held_out_examples_has_no_test(server: InProcessServer) -> None:
    await server.create()
    await server.add(LABELS)
    await server.train()
    assert not (await server.report()).HasField("test")


async def test_head_that_keeps_inputs_has_none_of_an_example_that_came_as_an_embedding(
    server: InProcessServer,
) -> None:
    await server.create(keep_inputs=True)
    vector = to_tensor(np.ones(DIM, np.float32))
    embedding = common_pb2.Embedding(fingerprint=FINGERPRINT, vector=vector)
    await server.add_rows(
        heads_pb2.NewExample(input=common_pb2.Input(embedding=embedding), label="a"),
        heads_pb2.NewExample(input=common_pb2.Input(text="b"), label="b"),
    )
    listed = await server.ask("ListExamples", heads_pb2.ListExamplesRequest(head=HEAD))
    kept = {item.label: (item.kind, item.has_input) for item in listed.examples}
    assert kept == {"a": ("embedding", False), "b": ("text", True)}


async def test_weights_are_stored_and_bad_ones_refused_row_by_row(server: InProcessServer) -> None:
    await server.create()
    weights = [2.0, 0.0, -1.0, float("nan"), float("inf"), 1e4, 0.5]
    response = await server.add_rows(
        *(
            heads_pb2.NewExample(input=common_pb2.Input(text=f"t{i}"), label="a", weight=weight)
            for i, weight in enumerate(weights)
        )
    )
    assert [(error.row, error.field) for error in response.errors] == [
        (row, "weight") for row in range(1, 6)
    ]
    listed = await server.ask("ListExamples", heads_pb2.ListExamplesRequest(head=HEAD))
    assert [(item.weight, item.held_out) for item in listed.examples] == [
        (2.0, False),
        (0.5, False),
    ]


async def test_weight_moves_the_head(server: InProcessServer) -> None:
    spec = heads_pb2.HeadSpec(family="ridge", l2=1.0)
    exported = []
    for weight in (1.0, 50.0):
        name = f"tenants/acme/heads/weight-{weight:g}"
        await server.create(name, spec=spec)
        await server.add(LABELS, head=name)
        row = heads_pb2.NewExample(
            input=common_pb2.Input(text="a doubtful one"), label="red", weight=weight
        )
        await server.add_rows(row, head=name)
        await server.train(name)
        exported.append((await server.predict(*texts("b close to it"), head=name)).predictions[0])
    assert exported[0].probabilities != exported[1].probabilities


async def test_weights_count_in_the_report_of_a_version_that_feedback_made(
    server: InProcessServer,
) -> None:
    vectors = {label: around(label, 20, seed, 3.0) for seed, label in enumerate(("red", "blue"))}
    curves = []
    for weight in (1.0, 50.0):
        live = LearningHead(server, f"tenants/acme/heads/weight-{weight:g}")
        await server.create(live.name, spec=heads_pb2.HeadSpec(family="ridge", l2=1.0))
        for label, some in vectors.items():
            await live.add(some, label)
        await server.train(live.name)
        rows = [
            heads_pb2.NewExample(input=vector_input(vector), label=label, weight=weight)
            for label, some in vectors.items()
            for vector in some[:3]
        ]
        await server.add_rows(*rows, head=live.name)
        await live.send(around("red", 1, seed=9), "red")
        assert (await live.promote()).version.version == 2
        *trained_on_parts, _ = (await server.report(live.name)).learning_curve
        curves.append([point.accuracy for point in trained_on_parts])
    assert curves[0] != curves[1]


async def test_report_names_examples_by_their_digests(server: InProcessServer) -> None:
    await server.create(spec=heads_pb2.HeadSpec(family="ridge"))
    good = {f"{colour} {i}": colour for i in range(8) for colour in ("red", "blue")}
    await server.add({**good, "red wrong": "blue"})
    await server.train()
    report = await server.report()
    digests = {text_digest(text): label for text, label in {**good, "red wrong": "blue"}.items()}
    suspects = {item.digest: item for item in report.likely_mislabelled}
    assert suspects[text_digest("red wrong")].predicted_label == "red"
    assert all(digests[digest] == item.label for digest, item in suspects.items())
    assert report.near_duplicates
    for pair in report.near_duplicates:
        assert digests[pair.digest] == pair.label
        assert digests[pair.other_digest] == pair.other_label
    confusion = from_tensor(report.evaluation.confusion, field="c", dtypes=("uint32",))
    assert confusion.shape == (2, 2)
    assert confusion.sum() == len(digests)
    assert report.evaluation.estimate == report.estimate
    assert report.learning_curve[-1].examples <= len(digests)
    assert report.train_cpu_seconds > 0


async def test_input_in_memory_need_not_be_sent(server: InProcessServer) -> None:
    await server.create()
    request = extraction_pb2.EmbedRequest(tenant="tenants/acme", inputs=texts("seen"))
    await server.ask("Embed", request)
    digests = [text_digest("seen"), text_digest("new")]
    missing = heads_pb2.FindMissingInputsRequest(head=HEAD, digests=digests)
    assert list((await server.ask("FindMissingInputs", missing)).missing) == digests[1:]
    row = heads_pb2.NewExample(input=common_pb2.Input(digest=digests[0]), label="a")
    assert (await server.add_rows(row)).added == 1


async def test_digest_of_a_deleted_example_predicts_only_if_another_head_holds_it(
    server: InProcessServer,
) -> None:
    other = "tenants/acme/heads/other"
    await server.create()
    await server.create(other)
    await server.add({**LABELS, "mine": "red", "ours": "red"})
    await server.add({"ours": "red"}, head=other)
    await server.train()
    digests = [text_digest("mine"), text_digest("ours")]
    await server.delete(*digests)
    response = await server.predict(*(common_pb2.Input(digest=digest) for digest in digests))
    assert [(error.row, error.code) for error in response.errors] == [(0, "NOT_FOUND")]


async def test_one_example_per_class_is_enough_unless_the_family_needs_more(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add({"a": "x", "b": "x", "c": "y"})
    with pytest.raises(PreconditionFailed) as caught:
        await server.train(spec=heads_pb2.HeadSpec(family="ridge"))
    assert caught.value.field == "examples"
    assert (await server.train()).state == heads_pb2.TRAINING_STATE_SUCCEEDED
    request = heads_pb2.GetHeadReportRequest(name=f"{HEAD}/versions/active")
    report = (await server.ask("GetHeadReport", request)).report
    assert report.family == "prototype"
    assert not report.HasField("estimate")


async def test_head_of_imported_weights_can_be_trained_further(server: InProcessServer) -> None:
    await server.ask("ImportHead", import_request())
    await server.add(LABELS)
    for family in ("logistic", "ridge"):
        training = await server.train(spec=heads_pb2.HeadSpec(family=family))
        assert training.state == heads_pb2.TRAINING_STATE_SUCCEEDED, training
    assert best(await server.predict(*texts(*LABELS))) == list(LABELS.values())


async def test_training_from_the_last_version_gives_the_head_of_a_fresh_one(
    server: InProcessServer,
) -> None:
    spec = heads_pb2.HeadSpec(family="logistic", seed=1, l2=1.0)
    fresh = "tenants/acme/heads/fresh"
    for name in (HEAD, fresh):
        await server.create(name, spec=spec)
        await server.add(LABELS, head=name)
    await server.train()
    more = {"red three": "red", "blue three": "blue"}
    for name in (HEAD, fresh):
        await server.add(more, head=name)
        await server.train(name)
    first, second = [
        from_tensor(
            (await server.predict(*texts("r", "q", "b"), head=name)).predictions[0].probabilities,
            field="p",
            dtypes=("float32",),
        )
        for name in (HEAD, fresh)
    ]
    assert first == pytest.approx(second, abs=1e-3)
