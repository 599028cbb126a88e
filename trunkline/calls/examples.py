"""The RPCs about examples and feedback."""

from collections.abc import Mapping, Sequence

from trunkline.calls import HEADS, PAGE_SIZE, Call, Page, head_name, one_of
from trunkline.replies import examples as replies
from trunkline.replies import failure
from trunkline.v1 import heads_pb2
from trunkline.values.examples import Example, FeedbackRecord, FeedbackState, Suggestions
from trunkline.values.outcomes import Changes, Forgotten
from trunkline.values.sequences import strings_in
from trunkline.wire.building import build


def find_missing(head: str, digests: Sequence[str]) -> Call[set[str]]:
    """Builds the call `FindMissingInputs`."""
    wanted = strings_in(digests, "digests")
    request = build(heads_pb2.FindMissingInputsRequest, head=str(head_name(head)), digests=wanted)
    return Call(HEADS, "FindMissingInputs", request, lambda reply: set(reply.missing))


def list_examples(head: str, label: str | None, token: str) -> Call[Page[Example]]:
    """Builds the call `ListExamples`, for one page."""
    request = build(
        heads_pb2.ListExamplesRequest,
        head=str(head_name(head)),
        page_size=PAGE_SIZE,
        page_token=token,
        label=label,
    )
    return Call(
        HEADS,
        "ListExamples",
        request,
        lambda reply: Page([replies.example(row) for row in reply.examples], reply.next_page_token),
    )


def update_examples(head: str, labels: Mapping[str, str | None]) -> Call[Changes]:
    """Builds the call `UpdateExamples`."""
    request = build(
        heads_pb2.UpdateExamplesRequest,
        head=str(head_name(head)),
        updates=[
            build(heads_pb2.ExampleUpdate, digest=digest, label=label)
            for digest, label in labels.items()
        ],
    )
    return Call(
        HEADS,
        "UpdateExamples",
        request,
        lambda reply: Changes(
            reply.updated, tuple(map(failure, reply.errors)), reply.corrections_replaced
        ),
    )


def delete_examples(head: str, digests: Sequence[str]) -> Call[Changes]:
    """Builds the call `DeleteExamples`."""
    request = build(heads_pb2.DeleteExamplesRequest, head=str(head_name(head)), digests=digests)
    return Call(
        HEADS,
        "DeleteExamples",
        request,
        lambda reply: Changes(reply.deleted, tuple(map(failure, reply.errors))),
    )


def forget_examples(head: str, digests: Sequence[str]) -> Call[Forgotten]:
    """Builds the call `ForgetExamples`."""
    request = build(heads_pb2.ForgetExamplesRequest, head=str(head_name(head)), digests=digests)
    return Call(HEADS, "ForgetExamples", request, replies.forgotten, idempotent=False)


def suggest_examples(head: str, count: int, strategy: str) -> Call[Suggestions]:
    """Builds the call `SuggestExamples`."""
    request = build(
        heads_pb2.SuggestExamplesRequest, head=str(head_name(head)), count=count, strategy=strategy
    )
    return Call(HEADS, "SuggestExamples", request, replies.suggestions)


def list_feedback(head: str, state: FeedbackState | None, token: str) -> Call[Page[FeedbackRecord]]:
    """Builds the call `ListFeedback`, for one page."""
    request = build(
        heads_pb2.ListFeedbackRequest,
        head=str(head_name(head)),
        page_size=PAGE_SIZE,
        page_token=token,
        state=replies.FEEDBACK_STATES[one_of(FeedbackState, state, field="state")]
        if state
        else heads_pb2.FEEDBACK_STATE_UNSPECIFIED,
    )
    return Call(
        HEADS,
        "ListFeedback",
        request,
        lambda reply: Page(
            [replies.feedback(row) for row in reply.feedback], reply.next_page_token
        ),
    )


def release_feedback(head: str, ids: Sequence[str], everything: bool) -> Call[Changes]:
    """Builds the call `ReleaseFeedback`."""
    request = build(
        heads_pb2.ReleaseFeedbackRequest, head=str(head_name(head)), ids=ids, all=everything
    )
    return Call(
        HEADS,
        "ReleaseFeedback",
        request,
        lambda reply: Changes(reply.released, tuple(map(failure, reply.errors))),
        idempotent=False,
    )
