"""The RPCs ``ListReviews`` and ``Review``: captured inputs, and what people say of them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from service.concurrency.tasks import UninterruptedTasks
from service.config import ServerSettings
from service.embedding.feedback_rows import resolve_for_feedback
from service.embedding.head_backbones import head_backbone
from service.embedding.resolved import new_example
from service.embedding.resolver import EmbeddingResolver
from service.errors import InvalidRequest, ServiceError
from service.extraction import Extractor
from service.metrics import Metrics
from service.replies.reviews import judged_message, read_review_state, review_message
from service.replies.rows import row_error
from service.requests.call import Call
from service.requests.fields import check_external_id, check_label, check_rows
from service.requests.inputs import Kind, RawInput
from service.requests.paging import PageTokens, page_size
from service.requests.words import has_words, read_words
from service.serving.neighbours import Space
from service.serving.reasons import Reasons, check_neighbours
from service.store import Database, judgements, reviews
from service.store import heads as stored_heads
from service.store.captures import CaptureRecord, CaptureState
from service.store.embeddings import find_embeddings
from service.store.examples import NewExample
from service.store.head_records import HeadRecord
from service.store.judgements import Judged, NewJudgement
from service.store.reviews import Place, ReviewPage, Sought
from service.tuning.activation_files import ActivationFiles
from trunkline.labels import normalised
from trunkline.resources import HeadName
from trunkline.v1 import common_pb2, prediction_pb2, reviews_pb2

MAX_NAMED = 1000
"""Ids, or external ids, that reviews are looked up by."""

MAX_LEASED = 100
"""Reviews that one reviewer is given at once."""

MAX_WITH_NEIGHBOURS = 100
"""Reviews in a page with neighbours, which are up to 20 for each: more would not fit a message."""

MAX_JUDGEMENTS = 100

_REVIEWER = re.compile("[A-Za-z0-9_.-]{0,31}")
_KINDS = {
    reviews_pb2.JUDGEMENT_KIND_CONFIRM: CaptureState.CONFIRMED,
    reviews_pb2.JUDGEMENT_KIND_CORRECT: CaptureState.CORRECTED,
    reviews_pb2.JUDGEMENT_KIND_SKIP: CaptureState.SKIPPED,
    reviews_pb2.JUDGEMENT_KIND_NONE_OF_THESE: CaptureState.NONE_OF_THESE,
    reviews_pb2.JUDGEMENT_KIND_JUNK: CaptureState.JUNK,
    reviews_pb2.JUDGEMENT_KIND_REOPEN: CaptureState.WAITING,
}
_ORDERS = {
    reviews_pb2.REVIEW_ORDER_UNSPECIFIED: False,
    reviews_pb2.REVIEW_ORDER_NEWEST: False,
    reviews_pb2.REVIEW_ORDER_LEAST_SURE: True,
}


@dataclass(eq=False)
class Reviews:
    """Lists captured inputs, and stores judgements before it acknowledges them."""

    _database: Database
    _extractor: Extractor
    _embeddings: EmbeddingResolver
    _activations: ActivationFiles
    _tasks: UninterruptedTasks
    _settings: ServerSettings
    _metrics: Metrics
    _tokens: PageTokens
    _reasons: Reasons

    async def list_reviews(
        self, request: reviews_pb2.ListReviewsRequest, call: Call
    ) -> reviews_pb2.ListReviewsResponse:
        """Returns a page of reviews; with a lease, of those that nobody else has leased."""
        size = _size(request)
        check_neighbours(request.neighbours, call.caller)
        least_sure, sought = _order(request.order), _sought(request)
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        listed = f"reviews/{head.uid}/{least_sure}"
        token = self._tokens.read(listed, request.page_token, str)
        page, now = await self._page(head, request, sought, call, least_sure, _place(token), size)
        inputs: Mapping[int, bytes] = {}
        if request.with_inputs:
            numbers = [row.number for row in page.reviews if row.has_input]
            inputs = await self._database.read(
                reviews.captured_inputs, head.uid, numbers, self._settings.max_message_bytes
            )
        messages = [review_message(row, now) for row in page.reviews]
        for row, message in zip(page.reviews, messages, strict=True):
            if row.number in inputs:
                message.input.CopyFrom(common_pb2.Input.FromString(inputs[row.number]))
        for message, found in zip(
            messages, await self._neighbours(head, page, request.neighbours), strict=True
        ):
            message.neighbours.extend(found)
        after = page.after
        next_token = "" if after is None else f"{after.margin!r} {after.number}"
        return reviews_pb2.ListReviewsResponse(
            reviews=messages,
            next_page_token=self._tokens.write(listed, next_token) if next_token else "",
            waiting=page.waiting,
        )

    async def review(
        self, request: reviews_pb2.ReviewRequest, call: Call
    ) -> reviews_pb2.ReviewResponse:
        """Stores every judgement; one that fails costs itself alone."""
        check_rows("judgements", len(request.judgements), MAX_JUDGEMENTS)
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        ids = [item.id for item in request.judgements]
        captures = await self._database.read(reviews.find_captures, head.uid, ids)
        rows = await self._read(request.judgements, head, captures, call)
        stored = await self._tasks.run(self._store(head, rows, call))
        response = reviews_pb2.ReviewResponse()
        outcomes = iter(stored)
        for row, item in enumerate(rows):
            outcome = item if isinstance(item, Exception) else next(outcomes)
            if isinstance(outcome, Exception):
                response.judged.add()
                response.errors.append(row_error(row, outcome, call.request_id))
            else:
                response.judged.append(judged_message(outcome))
        return response

    async def _neighbours(
        self, head: HeadRecord, page: ReviewPage, count: int
    ) -> list[Sequence[prediction_pb2.Neighbour]]:
        """Returns the examples nearest to each review; none without the version's embedding."""
        digests = [row.digest for row in page.reviews]
        found: dict[str, Sequence[prediction_pb2.Neighbour]] = {}
        if count and digests:
            fingerprint = head.active_fingerprint
            vectors = await self._database.read(
                find_embeddings,
                head.tenant,
                fingerprint,
                list(dict.fromkeys(digests)),
                leave_out_damaged=True,  # it would keep people from all others
            )
            space = Space(head.tenant, head.uid, fingerprint)
            nearest = await self._reasons.of(space, list(vectors.values()), count)
            found = {d: one.neighbours for d, one in zip(vectors, nearest, strict=True)}
        return [found.get(digest, ()) for digest in digests]

    async def _page(
        self,
        head: HeadRecord,
        request: reviews_pb2.ListReviewsRequest,
        sought: Sought,
        call: Call,
        least_sure: bool,
        after: Place | None,
        size: int,
    ) -> tuple[ReviewPage, float]:
        """Returns the page, and the time that its leases are told by."""
        now = time.time()
        if not request.lease:
            page = await self._database.read(
                reviews.list_reviews,
                head.uid,
                sought,
                after=after,
                limit=size,
                least_sure=least_sure,
            )
            return page, now
        page = await self._database.write(
            reviews.lease_reviews,
            head.uid,
            sought,
            after=after,
            limit=size,
            least_sure=least_sure,
            reviewer=f"{call.caller.key}/{request.reviewer}",
            now=now,
        )
        return page, now

    async def _read(
        self,
        items: Sequence[reviews_pb2.Judgement],
        head: HeadRecord,
        captures: Mapping[str, CaptureRecord],
        call: Call,
    ) -> list[NewJudgement | Exception]:
        """Returns the judgements, those with a label with the example that it makes."""
        read = [self._checked(item, captures) for item in items]
        labelled = {
            row: (captures[item[0].id], item[1])
            for row, item in enumerate(read)
            if not isinstance(item, Exception) and item[1] and item[0].id in captures
        }
        examples = await self._examples(head, list(labelled.values()), call)
        by_row = dict(zip(labelled, examples, strict=True))
        return [
            item if isinstance(item, Exception) else _with_example(item[0], by_row.get(row))
            for row, item in enumerate(read)
        ]

    def _checked(
        self, item: reviews_pb2.Judgement, captures: Mapping[str, CaptureRecord]
    ) -> tuple[NewJudgement, str] | InvalidRequest:
        """Returns a judgement without its example, and the label that it gives, "" for none."""
        state = _KINDS.get(item.kind)
        try:
            if state is None:
                raise InvalidRequest.at(
                    "kind", "there is none with the number {value}", ", ".join(_names()), item.kind
                )
            if state is CaptureState.CORRECTED:
                label = check_label(item.label, self._settings.max_label_bytes)
            elif item.label:
                raise InvalidRequest.at(
                    "label", "only with JUDGEMENT_KIND_CORRECT, is {value!r}", value=item.label
                )
            else:
                confirmed = captures.get(item.id) if state is CaptureState.CONFIRMED else None
                label = "" if confirmed is None else confirmed.predicted
        except InvalidRequest as error:
            return error
        return NewJudgement(item.id, state), label

    async def _examples(
        self, head: HeadRecord, rows: Sequence[tuple[CaptureRecord, str]], call: Call
    ) -> list[NewExample | Exception]:
        """Returns what labels make of captured inputs, whose embeddings are stored or computed."""
        if not rows:
            return []
        backbone = head_backbone(self._extractor, head)
        raws = [RawInput(Kind.DIGEST, capture.digest, None) for capture, _ in rows]
        resolved, by_tail = await resolve_for_feedback(
            self._database, self._embeddings, head, backbone, raws, call.deadline
        )
        examples: list[NewExample | Exception] = []
        for (_, label), raw, found, tailed in zip(rows, raws, resolved, by_tail, strict=True):
            if isinstance(found, Exception) or isinstance(tailed, Exception):
                examples.append(found if isinstance(found, Exception) else _error(tailed))
                continue
            example = new_example(raw, found, label, "feedback", keep_input=False)
            if head.tail is not None:
                example = replace(example, tail=(head.tail, tailed.vector))
            examples.append(example)
        return examples

    async def _store(
        self, head: HeadRecord, rows: Sequence[NewJudgement | Exception], call: Call
    ) -> list[Judged | ServiceError]:
        """Stores judgements; a client that leaves does not stop it."""
        new = [row for row in rows if isinstance(row, NewJudgement)]
        outcomes, added = await self._database.write(
            judgements.judge,
            head.uid,
            new,
            key=call.caller.key,
            now=time.time(),
            max_examples=self._settings.max_examples_per_head,
            max_classes=self._settings.max_classes,
            fingerprint=head.fingerprint,
        )
        deleted = [row.deleted for row in outcomes if isinstance(row, Judged) and row.deleted]
        if deleted:
            await self._activations.threads.run(self._activations.forget, head.uid, deleted)
        self._metrics.feedback.labels(self._metrics.tenant(call.tenant)).inc(added)
        return outcomes


def _size(request: reviews_pb2.ListReviewsRequest) -> int:
    size = page_size(request.page_size)
    if request.lease and size > MAX_LEASED:
        raise InvalidRequest.at(
            "page_size", "at most {limit} with lease, is {value}", MAX_LEASED, size
        )
    if not _REVIEWER.fullmatch(request.reviewer):
        raise InvalidRequest.at(
            "reviewer", "must match {limit}, is {value!r}", _REVIEWER.pattern, request.reviewer
        )
    return min(size, MAX_WITH_NEIGHBOURS) if request.neighbours else size


def _order(number: reviews_pb2.ReviewOrder.ValueType) -> bool:
    """Returns whether the least sure come first."""
    if number not in _ORDERS:
        names = ", ".join(reviews_pb2.ReviewOrder.keys())
        raise InvalidRequest.at("order", "there is none with the number {value}", names, number)
    return _ORDERS[number]


def _sought(request: reviews_pb2.ListReviewsRequest) -> Sought:
    """Returns which reviews a request is about.

    Raises:
        InvalidRequest: a field is not valid.
    """
    state = read_review_state(request.state)
    if request.ids:
        check_rows("ids", len(request.ids), MAX_NAMED)
    elif state is None:
        state = CaptureState.WAITING
    if request.external_ids:
        check_rows("external_ids", len(request.external_ids), MAX_NAMED)
    predicted = normalised(request.predicted_label) if request.HasField("predicted_label") else None
    return Sought(
        state=state,
        predicted=predicted,
        drawn=request.sampled_at_random,
        external_ids=[check_external_id(name, "external_ids") for name in request.external_ids],
        ids=list(request.ids),
        matches=_matcher(request.text),
    )


def _matcher(text: str) -> Callable[[bytes], bool] | None:
    """Returns what looks for words in serialised inputs; None where none are asked for."""
    if not (words := read_words("text", text)):
        return None
    return lambda data: has_words(common_pb2.Input.FromString(data).text, words)


def _place(token: str) -> Place | None:
    if not token:
        return None
    margin, number = token.split(" ")
    return Place(float(margin), int(number))


def _with_example(
    item: NewJudgement, example: NewExample | Exception | None
) -> NewJudgement | Exception:
    """Returns a judgement with its example, or the error that this is."""
    return example if isinstance(example, Exception) else replace(item, example=example)


def _error(outcome: object) -> Exception:
    assert isinstance(outcome, Exception)
    return outcome


def _names() -> list[str]:
    return [reviews_pb2.JudgementKind.Name(number) for number in _KINDS]
