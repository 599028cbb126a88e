"""The recording server's advice: direct training wins, unless a test sets the verdict."""

from collections import Counter
from typing import Any

from tests.trunkline.recorded_state import State, digest_of
from trunkline.v1 import advice_pb2, heads_pb2


class RecordedAdvice(State):
    def Advise(self, request_iterator: Any, context: Any) -> Any:
        reply = advice_pb2.AdviseResponse()
        digests: list[str] = []
        labels: Counter[str] = Counter()
        row = 0
        for request in request_iterator:
            self._record("Advise", request, context)
            for example in request.examples:
                name = digest_of(example.input)
                if name in self.bad_digests:
                    reply.errors.append(self._error(row, "cannot be decoded"))
                    reply.failed += 1
                else:
                    digests.append(name)
                    labels[example.label] += 1
                row += 1
        reply.advice.CopyFrom(sample_advice(digests, labels))
        reply.advice.verdict = self.verdict
        reply.advice.recommended = self.recommended
        if self.verdict != advice_pb2.VERDICT_DIRECT:
            reply.advice.ClearField("direct_code")
        return reply


def sample_advice(digests: list[str], labels: Counter[str]) -> advice_pb2.Advice:
    """An advice that has something of everything."""
    first, *_, last = digests
    return advice_pb2.Advice(
        example_count=len(digests),
        classes=[heads_pb2.ClassReport(label=a, examples=b) for a, b in sorted(labels.items())],
        options=[
            _option("direct", 0.9, 0.4),
            _option("minilm/l6-v2", 0.7, 0.8, rank=12.5),
            _option("majority", 0.5, 0.69),
        ],
        verdict=advice_pb2.VERDICT_DIRECT,
        recommended="direct",
        summary="Transfer does not help.",
        reasons=["Direct training is ahead.", "There are copies."],
        fine_tuning=True,
        fine_tuning_reason="The frozen features seem to be the limit.",
        labels_needed=[
            advice_pb2.LabelsNeeded(accuracy=0.92, examples=1234),
            advice_pb2.LabelsNeeded(accuracy=0.98),
        ],
        near_duplicates=[
            heads_pb2.NearDuplicates(
                digest=first, label="no", other_digest=last, other_label="yes", similarity=0.997
            )
        ],
        near_duplicate_count=12,
        group_count=len(digests),
        head_lead=advice_pb2.HeadLead(backbone="minilm/l6-v2", gain=-0.2, low=-0.26, high=-0.14),
        direct_code="model = sorted(zip(labels, inputs))\nprint(model)\n",
    )


def _option(
    name: str, accuracy: float, log_loss: float, rank: float | None = None
) -> advice_pb2.Option:
    return advice_pb2.Option(
        name=name,
        estimate=heads_pb2.Estimate(
            method="10-fold cross-validation",
            accuracy=accuracy,
            accuracy_low=accuracy - 0.05,
            accuracy_high=accuracy + 0.05,
            log_loss=log_loss,
        ),
        learning_curve=[
            heads_pb2.LearningPoint(examples=50, accuracy=accuracy - 0.1),
            heads_pb2.LearningPoint(examples=100, accuracy=accuracy),
        ],
        seconds=1.5,
        log_evidence=None if rank is None else -0.25,
        effective_rank=rank,
        mean_similarity=None if rank is None else 0.875,
    )
