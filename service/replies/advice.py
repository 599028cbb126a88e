"""An advice on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trunkline.v1 import advice_pb2, heads_pb2

Json = Mapping[str, Any]


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
    options = [
        _option(item, seconds[item["name"]], truncated.get(item["name"], 0))
        for item in advice["options"]
    ]
    changed = {
        "options": options,
        "verdict": advice_pb2.Verdict.Value(f"VERDICT_{advice['verdict'].upper()}"),
        "near_duplicates": [_near_duplicates(item, digests) for item in advice["near_duplicates"]],
    }
    return advice_pb2.Advice(**{**advice, **changed})


def _option(option: Json, seconds: float, truncated: int) -> advice_pb2.Option:
    geometry = option["geometry"] or {}
    plain = {name: value for name, value in option.items() if name != "geometry"}
    return advice_pb2.Option(**plain, **geometry, seconds=seconds, truncated_count=truncated)


def _near_duplicates(pair: Json, digests: Sequence[str]) -> heads_pb2.NearDuplicates:
    return heads_pb2.NearDuplicates(
        digest=digests[pair["row"]],
        label=pair["label"],
        other_digest=digests[pair["other_row"]],
        other_label=pair["other_label"],
        similarity=pair["similarity"],
    )
