"""Heads for texts answer by what their labels are said to mean, until they have examples."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import InvalidRequest, NotFound, PreconditionFailed
from service.store.live_set import live_set
from tests.service.server import HEAD, InProcessServer, best, import_request, texts
from tests.service.tail_heads import database_of
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2

MEANINGS = {"red": "rubies, roses", "blue": "bluebells"}
SUCCEEDED = heads_pb2.TRAINING_STATE_SUCCEEDED
KEEP = heads_pb2.EXAMPLES_OF_LABEL_KEEP


async def describe(server: InProcessServer, **meanings: str) -> heads_pb2.DescribeLabelsResponse:
    request = heads_pb2.DescribeLabelsRequest(head=HEAD, descriptions=meanings)
    reply: heads_pb2.DescribeLabelsResponse = await server.ask("DescribeLabels", request)
    return reply


async def described(server: InProcessServer, **spec: Any) -> None:
    await server.create(spec=heads_pb2.HeadSpec(**spec))
    reply = await describe(server, **MEANINGS)
    assert dict(reply.head.label_descriptions) == MEANINGS
    assert (await server.train()).state == SUCCEEDED  # joins the training that was started


async def answers(server: InProcessServer) -> tuple[list[str], bool]:
    reply = await server.predict(*texts("red wine", "blue cheese"))
    return best(reply), reply.predictions[0].described


async def test_head_answers_by_descriptions_and_says_so(server: InProcessServer) -> None:
    await described(server)
    assert await answers(server) == (["red", "blue"], True)
    head = await server.head()
    assert (head.described, head.HasField("estimate")) == (True, False)
    assert (head.example_count, head.labelled_count) == (0, 0)
    report = await server.report()
    assert (report.family, report.description_count) == ("prototype", 2)
    assert not report.HasField("estimate")


async def test_label_without_a_text_is_described_by_its_name(server: InProcessServer) -> None:
    await server.create()
    reply = await describe(server, red="", blue=" ")
    assert dict(reply.head.label_descriptions) == {"red": "red", "blue": "blue"}


async def test_two_examples_take_the_place_of_a_description_and_one_does_not(
    server: InProcessServer,
) -> None:
    await described(server)
    await server.add({"red one": "red", "red two": "red", "blue one": "blue"})
    await server.train()
    report = await server.report()
    assert (report.example_count, report.description_count) == (4, 1)
    assert not report.HasField("estimate")  # one of blue, and what blue is said to be
    assert (await answers(server))[1]
    await server.add({"blue two": "blue"})
    await server.train()
    report = await server.report()
    assert (report.example_count, report.description_count) == (4, 0)
    assert report.estimate.examples == 4
    assert await answers(server) == (["red", "blue"], False)
    assert not (await server.head()).described


async def test_estimate_counts_no_description_of_another_class(server: InProcessServer) -> None:
    await described(server)
    await describe(server, **MEANINGS, green="grass")
    await server.train()
    rows = {f"{label} {i}": label for label in ("red", "blue") for i in ("one", "two", "three")}
    await server.add(rows)
    await server.train()
    report = await server.report()
    assert report.estimate.examples == 6
    assert report.description_count == 1
    assert set((await server.head()).labels) == {"red", "blue", "green"}


async def test_descriptions_are_listed_apart_from_examples(server: InProcessServer) -> None:
    await described(server)
    await server.add({"red one": "red"})
    listed = await server.ask("ListExamples", heads_pb2.ListExamplesRequest(head=HEAD))
    assert [example.source for example in listed.examples] == ["description"] * 2 + ["upload"]
    counts = await server.ask("ListLabels", heads_pb2.ListLabelsRequest(head=HEAD))
    assert [(row.label, row.example_count) for row in counts.labels] == [("blue", 0), ("red", 1)]


async def test_new_descriptions_take_the_place_of_all_others(server: InProcessServer) -> None:
    await described(server)
    reply = await describe(server, red=MEANINGS["red"], green="grass")
    assert dict(reply.head.label_descriptions) == {"red": MEANINGS["red"], "green": "grass"}
    await server.train()
    assert set((await server.head()).labels) == {"red", "green"}
    reply = await describe(server)
    assert not reply.head.label_descriptions
    assert not reply.HasField("training")


async def test_an_upload_of_the_same_text_is_an_example(server: InProcessServer) -> None:
    await described(server)
    await server.add({MEANINGS["red"]: "red"})
    head = await server.head()
    assert dict(head.label_descriptions) == {"blue": MEANINGS["blue"]}
    assert head.labelled_count == 1


async def test_an_example_stays_one_when_it_is_given_as_a_description(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add({"red one": "red", "blue one": "blue"})
    await describe(server, red="red one", blue="bluebells")
    assert dict((await server.head()).label_descriptions) == {"blue": "bluebells"}
    assert (await server.head()).labelled_count == 2


async def test_descriptions_follow_their_labels(server: InProcessServer) -> None:
    await described(server)
    rename = heads_pb2.RenameLabelRequest(head=HEAD, label="red", new_label="scarlet")
    await server.ask("RenameLabel", rename)
    head = await server.head()
    assert dict(head.label_descriptions) == {"scarlet": MEANINGS["red"], "blue": MEANINGS["blue"]}
    assert head.described
    await describe(server, **MEANINGS, green="grass", crimson="gore")
    await server.train()
    merge = heads_pb2.MergeLabelsRequest(head=HEAD, labels=["crimson"], into="red")
    await server.ask("MergeLabels", merge)
    await server.train()
    merged = dict((await server.head()).label_descriptions)
    assert set(merged) == {"red", "blue", "green"}
    listed = heads_pb2.ListExamplesRequest(head=HEAD, label="red")
    assert len((await server.ask("ListExamples", listed)).examples) == 1
    gone = heads_pb2.DeleteLabelRequest(head=HEAD, label="green", examples=KEEP)
    await server.ask("DeleteLabel", gone)
    await server.train()
    assert set((await server.head()).label_descriptions) == {"red", "blue"}


async def test_feedback_teaches_a_head_that_stands_on_descriptions(
    server: InProcessServer,
) -> None:
    await described(server)
    assert best(await server.predict(*texts("mango"))) == ["red"]
    await server.feedback({"mint": "blue", "moss": "blue", "maple": "blue"})
    promoted = await server.ask("PromoteLiveCopy", heads_pb2.PromoteLiveCopyRequest(head=HEAD))
    assert promoted.version.description_count == 2
    assert not promoted.version.HasField("estimate")  # red has no example
    reply = await server.predict(*texts("mango"))
    assert best(reply) == ["blue"]
    assert reply.predictions[0].described


async def test_forgetting_a_description_takes_it_out_of_the_version(
    server: InProcessServer,
) -> None:
    await described(server)
    await describe(server, **MEANINGS, green="grass")
    await server.train()
    await server.forget(text_digest("grass"))
    assert set((await server.head()).labels) == {"red", "blue"}


@pytest.mark.parametrize(
    ("meanings", "words"),
    [
        ({"red": "one", "blue": "one"}, "'blue' and 'red' have the same text"),
        ({"red": "x" * 70_000, "blue": "y"}, "that of 'red'"),
        ({"": "one", "blue": "two"}, "from 1 to 256 bytes"),
        ({"l" * 257: "one", "blue": "two"}, "from 1 to 256 bytes"),
        ({f"l{i}": f"text {i}" for i in range(1001)}, "at most 1000 labels"),
    ],
)
async def test_bad_descriptions_are_refused_and_change_nothing(
    server: InProcessServer, meanings: dict[str, str], words: str
) -> None:
    await described(server)
    with pytest.raises(InvalidRequest, match=words) as refused:
        await describe(server, **meanings)
    assert refused.value.field == "descriptions"
    assert dict((await server.head()).label_descriptions) == MEANINGS


async def test_one_class_alone_cannot_be_described(server: InProcessServer) -> None:
    await server.create()
    with pytest.raises(PreconditionFailed, match="at least 2 are needed"):
        await describe(server, red="roses")
    assert not (await server.head()).label_descriptions


async def test_family_that_needs_more_examples_is_refused_at_once(server: InProcessServer) -> None:
    await server.create(spec=heads_pb2.HeadSpec(family="ridge"))
    with pytest.raises(PreconditionFailed, match="ridge needs at least 2"):
        await describe(server, **MEANINGS)


async def test_version_with_an_estimate_stays_until_descriptions_lead_to_another(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add({"red one": "red", "red two": "red", "blue one": "blue", "blue two": "blue"})
    await server.train()
    await server.delete(text_digest("red one"), text_digest("blue one"))
    await describe(server, **MEANINGS)
    training = await server.train()
    assert (training.version, training.activated) == (2, False)
    assert "estimate" in training.inactive_reason
    assert (await server.head()).active_version == 1


async def test_imported_version_has_no_estimate_and_makes_room(server: InProcessServer) -> None:
    await server.create()
    await server.ask("ImportHead", import_request(activate=True))
    await describe(server, **MEANINGS)
    training = await server.train()
    assert (training.state, training.activated) == (SUCCEEDED, True)
    assert set((await server.head()).labels) == {"red", "blue"}


async def test_estimate_of_a_live_copy_that_takes_over_counts_no_description(
    server: InProcessServer,
) -> None:
    await described(server)
    said = {f"{label} {number}": label for label in ("red", "blue") for number in "1234"}
    await server.feedback(said)
    promoted = await server.ask("PromoteLiveCopy", heads_pb2.PromoteLiveCopyRequest(head=HEAD))
    assert promoted.version.description_count == 2
    assert promoted.version.estimate.examples == len(said)


async def test_nobody_vouches_for_a_description_that_a_live_copy_is_built_on(
    server: InProcessServer,
) -> None:
    await described(server)
    await server.add({"red one": "red"})
    await server.train()
    await server.feedback({"red two": "red"})
    uid = (await server.head()).uid
    members = (await database_of(server).read(live_set, uid)).members
    assert {(member.anchor, member.described) for member in members} == {
        *((True, False), (False, True)),
    }


async def test_description_that_an_upload_holds_out_is_no_test(server: InProcessServer) -> None:
    await described(server)
    await server.add({"red one": "red", "red two": "red", "blue one": "blue", "blue two": "blue"})
    held_out = common_pb2.Input(text=MEANINGS["red"])
    await server.add_rows(heads_pb2.NewExample(input=held_out, held_out=True))
    await server.train()
    assert not (await server.report()).HasField("test")


@pytest.mark.parametrize("label", ["blue", None])
async def test_text_of_another_class_describes_nothing(
    server: InProcessServer, label: str | None
) -> None:
    await described(server)
    await server.add({"roses": label})
    with pytest.raises(PreconditionFailed, match="the text of 'red' is a stored example already"):
        await describe(server, red="roses", blue="bluebells")
    assert dict((await server.head()).label_descriptions) == MEANINGS


async def test_description_of_a_class_that_is_deleted_is_no_example_to_be_labelled(
    server: InProcessServer,
) -> None:
    await described(server)
    await describe(server, **MEANINGS, green="grass")
    await server.train()
    gone = heads_pb2.DeleteLabelRequest(head=HEAD, label="green", examples=KEEP)
    await server.ask("DeleteLabel", gone)
    listed = await server.ask("ListExamples", heads_pb2.ListExamplesRequest(head=HEAD))
    assert sorted(example.label for example in listed.examples) == ["blue", "red"]


async def test_unknown_head_is_not_found(server: InProcessServer) -> None:
    with pytest.raises(NotFound):
        await describe(server, **MEANINGS)
