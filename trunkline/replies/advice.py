"""An advice, as it comes over the wire."""

from collections.abc import Sequence

from trunkline import replies
from trunkline.errors import DataLoss
from trunkline.replies.reports import read_class, read_estimate, read_near_duplicates
from trunkline.v1 import advice_pb2
from trunkline.values.advice import Advice, LabelsNeeded, Option, Verdict
from trunkline.values.outcomes import RowFailure
from trunkline.values.reports import LearningPoint

_VERDICTS: dict[int, Verdict] = {
    advice_pb2.VERDICT_TRANSFER: Verdict.TRANSFER,
    advice_pb2.VERDICT_EITHER: Verdict.EITHER,
    advice_pb2.VERDICT_DIRECT: Verdict.DIRECT,
    advice_pb2.VERDICT_NOTHING: Verdict.NOTHING,
}


def advice(message: advice_pb2.Advice, failures: Sequence[RowFailure], failed: int) -> Advice:
    """Reads an advice, and adds what became of the rows.

    Raises `DataLoss` if it contradicts itself, or has a verdict that this client does not know.
    """
    options = tuple(map(_option, message.options))
    if message.recommended not in {option.name for option in options}:
        raise DataLoss(f"{message.recommended!r} is recommended, which is none of the options")
    return Advice(
        example_count=message.example_count,
        classes=tuple(map(read_class, message.classes)),
        options=options,
        verdict=replies.state(_VERDICTS, message.verdict, "verdict of an advice"),
        recommended=message.recommended,
        summary=message.summary,
        reasons=tuple(message.reasons),
        fine_tuning=message.fine_tuning,
        fine_tuning_reason=message.fine_tuning_reason,
        labels_needed=tuple(map(_labels_needed, message.labels_needed)),
        near_duplicates=tuple(map(read_near_duplicates, message.near_duplicates)),
        near_duplicate_count=message.near_duplicate_count,
        group_count=message.group_count,
        failures=tuple(failures),
        failed=failed,
    )


def _option(message: advice_pb2.Option) -> Option:
    has = message.HasField
    return Option(
        name=message.name,
        estimate=read_estimate(message.estimate),
        learning_curve=tuple(
            LearningPoint(row.examples, row.accuracy) for row in message.learning_curve
        ),
        seconds=message.seconds,
        log_evidence=message.log_evidence if has("log_evidence") else None,
        effective_rank=message.effective_rank if has("effective_rank") else None,
        mean_similarity=message.mean_similarity if has("mean_similarity") else None,
        truncated_count=message.truncated_count,
    )


def _labels_needed(message: advice_pb2.LabelsNeeded) -> LabelsNeeded:
    return LabelsNeeded(
        message.accuracy, message.examples if message.HasField("examples") else None
    )
