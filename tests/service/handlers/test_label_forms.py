"""Labels that look the same are the same, wherever they come in and whenever they were stored."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from structlog.testing import capture_logs

from service.errors import InvalidRequest
from tests.service.earlier_labels import COMPOSED, DECOMPOSED, rename_labels
from tests.service.server import (
    HEAD,
    InProcessServer,
    StartServer,
    best,
    import_request,
    texts,
    weights,
)
from trunkline.digest import text_digest
from trunkline.v1 import advice_pb2, common_pb2, heads_pb2, prediction_pb2

FORMS = {COMPOSED: DECOMPOSED, "tea": "tea"}
BOTH = {"c one": COMPOSED, "c two": DECOMPOSED, "t one": "tea", "t two": "tea"}


async def examples(server: InProcessServer, **values: Any) -> list[heads_pb2.Example]:
    request = heads_pb2.ListExamplesRequest(head=HEAD, **values)
    return list((await server.ask("ListExamples", request)).examples)


async def test_two_forms_of_a_label_are_one_class_however_they_come(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add({**BOTH, "unknown": None})
    update = heads_pb2.ExampleUpdate(digest=text_digest("unknown"), label=DECOMPOSED)
    await server.ask("UpdateExamples", heads_pb2.UpdateExamplesRequest(head=HEAD, updates=[update]))
    assert {row.label for row in await examples(server)} == {COMPOSED, "tea"}
    assert len(await examples(server, label=DECOMPOSED)) == 3
    assert (await server.train()).version == 1
    assert not (await server.feedback({"c three": DECOMPOSED})).errors
    assert list((await server.head()).labels) == [COMPOSED, "tea"]
    listed = await server.ask("ListFeedback", heads_pb2.ListFeedbackRequest(head=HEAD))
    assert [row.label for row in listed.feedback] == [COMPOSED]


async def test_class_weights_of_a_label_in_two_forms_are_refused_by_name(
    server: InProcessServer,
) -> None:
    head = await server.create(spec=heads_pb2.HeadSpec(class_weights={DECOMPOSED: 2.0}))
    assert dict(head.spec.class_weights) == {COMPOSED: 2.0}
    both = heads_pb2.HeadSpec(class_weights={DECOMPOSED: 2.0, COMPOSED: 3.0})
    with pytest.raises(InvalidRequest) as refused:
        await server.train(spec=both)
    assert refused.value.field == "class_weights"
    assert "'caf\\xe9'" in refused.value.message
    assert "'cafe\\u0301'" in refused.value.message


@pytest.mark.parametrize("in_file", [False, True])
async def test_imported_labels_are_normalised_and_two_forms_of_one_refused(
    server: InProcessServer, in_file: bool
) -> None:
    def request(*labels: str) -> heads_pb2.ImportHeadRequest:
        data = weights(labels)
        if in_file:
            tensors = safetensors.numpy.load(data)
            metadata = {"labels": json.dumps(labels)}
            return import_request(
                safetensors=safetensors.numpy.save(tensors, metadata=metadata), labels=[]
            )
        return import_request(safetensors=data, labels=labels)

    with pytest.raises(InvalidRequest) as refused:
        await server.ask("ImportHead", request(DECOMPOSED, COMPOSED))
    assert refused.value.field == "labels"
    assert ascii(DECOMPOSED) in refused.value.message
    version = (await server.ask("ImportHead", request(DECOMPOSED, "tea"))).version
    assert list(version.labels) == [COMPOSED, "tea"]
    assert (await server.exported()).labels == (COMPOSED, "tea")


async def test_advice_counts_two_forms_of_a_label_as_one(server: InProcessServer) -> None:
    labels = {
        f"{letter} {i}": label
        for letter, label in (("c", COMPOSED), ("t", "tea"))
        for i in range(6)
    }
    rows = [
        advice_pb2.LabelledInput(
            input=common_pb2.Input(text=text), label=FORMS[label] if i % 2 else label
        )
        for i, (text, label) in enumerate(labels.items())
    ]

    async def stream() -> AsyncIterator[advice_pb2.AdviseRequest]:
        yield advice_pb2.AdviseRequest(parent="tenants/acme", examples=rows)

    handler = server.application.handlers["Advise"]
    advice = (await handler(stream(), server.call("Advise", None))).advice
    assert {row.label: row.examples for row in advice.classes} == {COMPOSED: 6, "tea": 6}


@pytest.mark.sqlite_file
async def test_earlier_labels_are_normalised_and_their_version_answers_with_the_new_ones(
    start_server: StartServer, tmp_path: Path
) -> None:
    async with start_server() as server:
        await server.create(spec=heads_pb2.HeadSpec(class_weights={"coffee": 2.0}, family="ridge"))
        await server.add({"c one": "coffee", "c two": "coffee", "t one": "tea", "t two": "tea"})
        await server.train()
        await server.feedback({"c three": "coffee", "t two": "coffee"})
        before = await server.predict(*texts("c four", "t four"))
    rename_labels(tmp_path, {"coffee": DECOMPOSED})
    with capture_logs() as logs:
        async with start_server() as server:
            head = await server.head()
            assert list(head.labels) == [COMPOSED, "tea"]
            assert dict(head.spec.class_weights) == {COMPOSED: 2.0}
            assert {row.label for row in await examples(server)} == {COMPOSED, "tea"}
            after = await server.predict(*texts("c four", "t four"))
            assert best(after) == [COMPOSED, "tea"]
            assert after.predictions[0].probabilities == before.predictions[0].probabilities
            report = await server.report()
            assert [row.label for row in report.classes] == [COMPOSED, "tea"]
            assert (await server.exported()).labels == (COMPOSED, "tea")
            # The copy stands on the version's examples and the feedback on them, as before.
            assert (head.live.base_version, head.live.example_count) == (1, 5)
            assert not (await server.feedback({"c five": DECOMPOSED})).errors
            assert (await server.head()).live.scored == 3
            promoted = await server.ask(
                "PromoteLiveCopy", heads_pb2.PromoteLiveCopyRequest(head=HEAD)
            )
            assert list(promoted.version.labels) == [COMPOSED, "tea"]
    assert not [line for line in logs if line["event"] == "labels became one with others"]


@pytest.mark.sqlite_file
async def test_version_that_learned_both_forms_answers_with_their_joint_probability(
    start_server: StartServer, tmp_path: Path
) -> None:
    async with start_server() as server:
        await server.create(spec=heads_pb2.HeadSpec(family="ridge"))
        await server.add(
            {f"c {i}": "coffee" if i % 2 else "mocha" for i in range(8)}
            | {f"t {i}": "tea" for i in range(8)}
        )
        await server.train()
        before = await server.predict(*texts("c x"), conformal_level=0.9)
    rename_labels(tmp_path, {"coffee": COMPOSED, "mocha": DECOMPOSED})
    with capture_logs() as logs:
        async with start_server() as server:
            after = await server.predict(*texts("c x"), conformal_level=0.9)
            assert list((await server.head()).labels) == [COMPOSED, "tea"]
            suggested = await server.add({"c new": None})
            assert suggested.added == 1
            found = await server.ask("SuggestExamples", heads_pb2.SuggestExamplesRequest(head=HEAD))
            assert found.suggestions[0].predicted_label == COMPOSED
            assert found.suggestions[0].probability > 0.5
            await server.feedback({"c six": DECOMPOSED})
            assert (await server.head()).live.scored == 1
            listed = await server.ask("ListFeedback", heads_pb2.ListFeedbackRequest(head=HEAD))
            assert [row.active_right for row in listed.feedback] == [True]
            assert (await server.train()).version == 2
            assert list((await server.head()).labels) == [COMPOSED, "tea"]
    joined = [line for line in logs if line["event"] == "labels became one with others"]
    assert [(line["head"], line["labels"]) for line in joined] == [(HEAD, 2)]
    assert scores(after).keys() == {COMPOSED, "tea"}
    assert scores(after)["tea"] == pytest.approx(scores(before)["tea"], abs=1e-6)
    assert sum(scores(after).values()) == pytest.approx(1, abs=1e-6)


def scores(response: prediction_pb2.PredictResponse) -> dict[str, float]:
    (group,) = response.predictions
    order = np.frombuffer(group.indices.data, "<u4")
    values = np.frombuffer(group.probabilities.data, "<f4")
    return {group.labels[i]: float(value) for i, value in zip(order, values, strict=True)}
