"""The recording server's methods about reviews."""

from typing import Any

from tests.trunkline.recorded_state import State, digest_of
from trunkline.v1 import common_pb2, reviews_pb2

_STATES = {
    "CONFIRM": "CONFIRMED",
    "CORRECT": "CORRECTED",
    "SKIP": "SKIPPED",
    "NONE_OF_THESE": "NONE_OF_THESE",
    "JUNK": "JUNK",
    "REOPEN": "WAITING",
}


class RecordedReviews(State):
    """`reviews` are those of all heads, by their ids, the newest first."""

    def capture(self, texts: list[str], label: str, probability: float) -> list[str]:
        """Captures texts that were taken for a label; returns their ids."""
        for text in texts:
            item = common_pb2.Input(text=text)
            name = f"{len(self.reviews):032x}"
            self.reviews[name] = reviews_pb2.Review(
                id=name,
                state=reviews_pb2.REVIEW_STATE_WAITING,
                digest=digest_of(item),
                kind="text",
                has_input=True,
                answer=[
                    reviews_pb2.AnsweredClass(label=label, probability=probability),
                    reviews_pb2.AnsweredClass(label="other", probability=1 - probability),
                ],
                input=item,
            )
        return list(self.reviews)[-len(texts) :]

    def ListReviews(self, request: Any, context: Any) -> Any:
        self._record("ListReviews", request, context)
        waiting = reviews_pb2.REVIEW_STATE_WAITING
        rows = [
            row
            for row in self.reviews.values()
            if row.state == (request.state or waiting) and row.id not in self.leased
            if not request.ids or row.id in request.ids
        ]
        size = request.page_size or 100
        for row in rows[:size]:
            del row.neighbours[:]
            for number in range(request.neighbours):
                row.neighbours.add(digest=f"{number:064x}", label="like", similarity=0.5)
        return reviews_pb2.ListReviewsResponse(reviews=rows[:size], waiting=len(rows))

    def Review(self, request: Any, context: Any) -> Any:
        self._record("Review", request, context)
        reply = reviews_pb2.ReviewResponse()
        for row, item in enumerate(request.judgements):
            if item.id not in self.reviews:
                reply.judged.add()
                reply.errors.append(self._error(row, "no review", "NOT_FOUND"))
                continue
            kind = reviews_pb2.JudgementKind.Name(item.kind).removeprefix("JUDGEMENT_KIND_")
            state = reviews_pb2.ReviewState.Value(f"REVIEW_STATE_{_STATES[kind]}")
            review = self.reviews[item.id]
            review.state = state
            review.label = item.label or (review.answer[0].label if kind == "CONFIRM" else "")
            reply.judged.add(state=state)
        return reply

    def GetServedAccuracy(self, request: Any, context: Any) -> Any:
        self._record("GetServedAccuracy", request, context)
        return self.served
