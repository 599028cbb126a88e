"""An advice on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.v1 import advice_pb2, heads_pb2

Json = Mapping[str, Any]

_VERDICTS = {
    "transfer": advice_pb2.VERDICT_TRANSFER,
    "either": advice_pb2.VERDICT_EITHER,
    "direct": advice_pb2.VERDICT_DIRECT,
    "nothing": advice_pb2.VERDICT_NOTHING,
}


def advice_message(
    advice: Json,
    digests: Sequence[str],
    seconds: Mapping[str, float],
    truncated: Mapping[str, int],
) -> advice_pb2.Advice:
    """Converts an advice to its message.

    Args:
        advice: `adapters.advice.Advice` as JSON; examples are named by their row.
        digests: one per row.
        seconds: what each option took.
        truncated: how many texts each backbone did not take to their end.
    """
    return advice_pb2.Advice(
        example_count=advice["example_count"],
        classes=[heads_pb2.ClassReport(**item) for item in advice["classes"]],
        options=[
            _option(item, seconds[item["name"]], truncated.get(item["name"], 0))
            for item in advice["options"]
        ],
        verdict=_VERDICTS[advice["verdict"]],
        recommended=advice["recommended"],
        summary=advice["summary"],
        reasons=advice["reasons"],
        fine_tuning=advice["fine_tuning"],
        fine_tuning_reason=advice["fine_tuning_reason"],
        labels_needed=[advice_pb2.LabelsNeeded(**item) for item in advice["labels_needed"]],
        near_duplicates=[_near_duplicates(item, digests) for item in advice["near_duplicates"]],
        near_duplicate_count=advice["near_duplicate_count"],
        group_count=advice["group_count"],
    )


def _option(option: Json, seconds: float, truncated: int) -> advice_pb2.Option:
    return advice_pb2.Option(
        name=option["name"],
        estimate=heads_pb2.Estimate(**option["estimate"]),
        learning_curve=[heads_pb2.LearningPoint(**point) for point in option["learning_curve"]],
        seconds=seconds,
        truncated_count=truncated,
        **(option["geometry"] or {}),
    )


def _near_duplicates(pair: Json, digests: Sequence[str]) -> heads_pb2.NearDuplicates:
    return heads_pb2.NearDuplicates(
        digest=digests[pair["row"]],
        label=pair["label"],
        other_digest=digests[pair["other_row"]],
        other_label=pair["other_label"],
        similarity=pair["similarity"],
    )
