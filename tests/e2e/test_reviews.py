"""Traffic is reviewed, learned and counted, over both transports."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import TEXTS
from tests.e2e.learning import make_head
from tests.e2e.test_capture import capture, count, eventually
from tests.e2e.transports import Refused, Transport, text
from trunkline import Backbone
from trunkline.digest import text_digest
from trunkline.v1 import heads_pb2, reviews_pb2

CONFIRM = reviews_pb2.JUDGEMENT_KIND_CONFIRM
CORRECT = reviews_pb2.JUDGEMENT_KIND_CORRECT
WORDS = ("first words", "second words", "third")


@pytest.fixture
def head(transport: Transport, tenant: str, backbones: dict[str, Backbone]) -> str:
    return make_head(transport, tenant, backbones[TEXTS].fingerprint)


def test_traffic_is_leased_judged_learned_and_counted(transport: Transport, head: str) -> None:
    capture(transport, head, random_share=1.0)
    inputs = [text(words) for words in WORDS]
    transport.predict(head, inputs)
    eventually(lambda: count(transport, head) == 3)

    def listed(**more: Any) -> reviews_pb2.ListReviewsResponse:
        request = reviews_pb2.ListReviewsRequest(head=head, **more)
        reply: reviews_pb2.ListReviewsResponse = transport.call("ListReviews", request)
        return reply

    mine = listed(lease=True, reviewer="me", page_size=2, with_inputs=True)
    assert [row.input.text for row in mine.reviews] == list(WORDS[:0:-1])
    theirs = listed(lease=True, reviewer="they")
    assert [row.digest for row in theirs.reviews] == [text_digest(WORDS[0])]
    assert [row.digest for row in listed(text="WORDS first").reviews] == [text_digest(WORDS[0])]
    assert not listed().reviews[0].neighbours
    for review in listed(neighbours=2).reviews:
        near, nearer = review.neighbours[1], review.neighbours[0]
        assert 1 >= nearer.similarity >= near.similarity >= -1
        assert nearer.label
        assert nearer.digest != near.digest
    last, second = mine.reviews
    taken = [entry.label for entry in second.answer]

    def judge(*rows: reviews_pb2.Judgement) -> reviews_pb2.ReviewResponse:
        request = reviews_pb2.ReviewRequest(head=head, judgements=rows)
        reply: reviews_pb2.ReviewResponse = transport.call("Review", request)
        return reply

    said = judge(
        reviews_pb2.Judgement(id=last.id, kind=CONFIRM),
        reviews_pb2.Judgement(id=second.id, kind=CORRECT, label=taken[1]),
        reviews_pb2.Judgement(id="0" * 32, kind=CONFIRM),
    )
    assert [row.feedback_id for row in said.judged] == [last.id, second.id, ""]
    assert [(row.row, row.code) for row in said.errors] == [(2, "NOT_FOUND")]
    assert judge(reviews_pb2.Judgement(id=last.id, kind=CONFIRM)).judged[0].duplicate
    asked = heads_pb2.ListExamplesRequest(head=head, digests=[second.digest])
    (example,) = transport.call("ListExamples", asked).examples
    assert example.label == taken[1]
    request = reviews_pb2.GetServedAccuracyRequest(head=head)
    found = transport.call("GetServedAccuracy", request)
    whole = found.accuracy
    assert (whole.right, whole.wrong, whole.unknown, found.waiting) == (1, 1, 1, 1)
    assert whole.accuracy_low < 1 / 3 < whole.accuracy == 0.5 < 2 / 3 < whole.accuracy_high
    assert len(found.periods) == 1
    with pytest.raises(Refused) as refused:
        listed(lease=True, page_size=101)
    assert refused.value.field == "page_size"
    with pytest.raises(Refused) as refused:
        listed(neighbours=21)
    assert (refused.value.field, refused.value.limit) == ("neighbours", "20")


def test_time_before_1970_is_refused_by_its_name(transport: Transport, head: str) -> None:
    request = reviews_pb2.GetServedAccuracyRequest(head=head)
    request.end_time.seconds = -1
    with pytest.raises(Refused) as refused:
        transport.call("GetServedAccuracy", request)
    assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "end_time")
