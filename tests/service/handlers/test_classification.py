"""The RPC Classify, on a tiny backbone that tells texts by their first letter."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from service.errors import Aborted, InvalidRequest, PreconditionFailed, problem_of
from tests.service.child_processes import children_running
from tests.service.server import InProcessServer, StartServer
from trunkline.resources import InvalidName
from trunkline.v1 import advice_pb2, common_pb2, heads_pb2, prediction_pb2

EXAMPLES = (("red rose", "red"), ("red robin", "red"), ("blue bell", "blue"), ("blue bird", "blue"))


def labelled(text: str, label: str, **more: Any) -> advice_pb2.LabelledInput:
    return advice_pb2.LabelledInput(input=common_pb2.Input(text=text), label=label, **more)


def request(
    texts: Iterable[str], examples: Iterable[Any] = EXAMPLES, **more: Any
) -> prediction_pb2.ClassifyRequest:
    rows = [one if not isinstance(one, tuple) else labelled(*one) for one in examples]
    return prediction_pb2.ClassifyRequest(
        **{"tenant": "tenants/acme", **more},
        examples=rows,
        inputs=[common_pb2.Input(text=text) for text in texts],
    )


async def classify(
    server: InProcessServer, *arguments: Any, **more: Any
) -> prediction_pb2.ClassifyResponse:
    reply: prediction_pb2.ClassifyResponse = await server.ask(
        "Classify", request(*arguments, **more)
    )
    return reply


def answers(reply: prediction_pb2.ClassifyResponse) -> dict[int, str]:
    found = reply.predictions
    best = np.frombuffer(found.indices.data, np.uint32).reshape(tuple(found.indices.shape))[:, 0]
    return {row: found.labels[index] for row, index in zip(found.rows, best, strict=True)}


async def test_inputs_are_classified_by_the_examples_and_nothing_is_stored(
    server: InProcessServer,
) -> None:
    reply = await classify(server, ["red wine", "blue cheese"])
    assert answers(reply) == {0: "red", 1: "blue"}
    assert (reply.family, reply.backbone) == ("prototype", "tiny/text")
    assert (reply.predictions.head, reply.predictions.version) == ("", 0)
    assert reply.estimate.examples == 4
    assert reply.estimate.accuracy_low < 0.6 < reply.estimate.accuracy  # four prove little
    assert not reply.errors
    assert not reply.example_errors
    heads = await server.ask("ListHeads", heads_pb2.ListHeadsRequest(parent="tenants/acme"))
    assert len(heads.heads) == 0


async def test_one_example_of_each_class_is_enough_and_has_no_estimate(
    server: InProcessServer,
) -> None:
    reply = await classify(server, ["red wine"], [("red rose", "red"), ("blue bell", "blue")])
    assert answers(reply) == {0: "red"}
    assert reply.family == "prototype"
    assert not reply.HasField("estimate")


async def test_examples_of_one_group_are_no_evidence_for_one_another(
    server: InProcessServer,
) -> None:
    grouped = [labelled(text, label, group=label) for text, label in EXAMPLES]
    assert not (await classify(server, ["red wine"], grouped)).HasField("estimate")


async def test_bad_inputs_and_bad_examples_cost_themselves_alone(server: InProcessServer) -> None:
    examples = [
        *EXAMPLES,
        labelled("green grass", ""),
        advice_pb2.LabelledInput(label="red"),
        labelled("green tea", "green", group=" tea"),
    ]
    reply = await classify(server, ["red wine", "", "blue cheese"], examples)
    assert answers(reply) == {0: "red", 2: "blue"}
    assert [error.row for error in reply.errors] == [1]
    assert reply.digests[1] == ""
    assert [error.row for error in reply.example_errors] == [4, 5, 6]
    assert {error.code for error in reply.example_errors} == {"INVALID_ARGUMENT"}
    assert list(reply.predictions.labels) == ["blue", "red"]


async def test_two_forms_of_a_label_are_one_class(server: InProcessServer) -> None:
    forms = ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}")
    examples = [("red rose", forms[0]), ("red robin", forms[1]), ("blue bell", "tea")]
    reply = await classify(server, ["red wine"], examples)
    assert list(reply.predictions.labels) == [forms[0], "tea"]


async def test_top_k_bounds_the_classes(server: InProcessServer) -> None:
    reply = await classify(server, ["red wine"], top_k=1)
    assert list(reply.predictions.indices.shape) == [1, 1]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"examples": []}, "examples"),
        ({"examples": [("red rose", "red")] * 201}, "examples"),
        ({"examples": [("red rose", "red"), ("red robin", "red")]}, "examples"),
        ({"texts": []}, "inputs"),
        ({"backbone": "no/such"}, "backbone"),
        ({"tenant": "acme"}, "tenant"),
    ],
)
async def test_what_cannot_be_answered_is_refused_by_name(
    server: InProcessServer, more: dict[str, Any], field: str
) -> None:
    with pytest.raises((InvalidRequest, PreconditionFailed, InvalidName)) as refused:
        await classify(server, **{"texts": ["red wine"], **more})
    assert problem_of(refused.value).field == field


async def test_a_refusal_says_why_the_examples_are_too_few(server: InProcessServer) -> None:
    examples = [("red rose", "red"), labelled("blue bell", "")]
    with pytest.raises(InvalidRequest, match=r"2 classes are needed.* have 1; example 1: label"):
        await classify(server, ["red wine"], examples)


async def test_a_fit_that_takes_too_long_is_aborted_and_the_next_is_answered(
    start_server: StartServer,
) -> None:
    async with start_server(fit_timeout_seconds=4) as server:
        await classify(server, ["red wine"])
        (process,) = children_running("service.fitting.worker")
        process.suspend()
        with pytest.raises(Aborted) as refused:
            await classify(server, ["red wine"])
        assert refused.value.field == "fit_timeout_seconds"
        assert answers(await _until_fitted(server)) == {0: "red"}


async def _until_fitted(server: InProcessServer) -> prediction_pb2.ClassifyResponse:
    """A new process starts within the seconds that a fit has, or at the next try."""
    with contextlib.suppress(Aborted):
        return await classify(server, ["red wine"])
    return await classify(server, ["red wine"])


async def test_who_leaves_amid_a_fit_does_not_end_the_process_for_others(
    server: InProcessServer,
) -> None:
    await classify(server, ["red wine"])
    (process,) = children_running("service.fitting.worker")
    process.suspend()
    leaving = asyncio.create_task(classify(server, ["red wine"]))
    staying = asyncio.create_task(classify(server, ["red wine"]))
    for _ in range(1000):  # all is in memory, so the first is amid its fit by then
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    process.resume()
    assert answers(await staying) == {0: "red"}
    assert children_running("service.fitting.worker") == [process]


async def test_many_at_once_are_each_answered_by_their_own_examples(
    server: InProcessServer,
) -> None:
    swapped = [(text, {"red": "blue", "blue": "red"}[label]) for text, label in EXAMPLES]
    replies = await asyncio.gather(
        *(classify(server, ["red wine"], [EXAMPLES, swapped][number % 2]) for number in range(6))
    )
    assert [answers(reply)[0] for reply in replies] == ["red", "blue"] * 3
