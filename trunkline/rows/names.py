"""What callers say of their inputs beside the inputs themselves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trunkline.errors import InvalidArgument
from trunkline.v1 import common_pb2, prediction_pb2
from trunkline.values.sequences import strings_in
from trunkline.wire.building import build


@dataclass(frozen=True)
class RowNames:
    """External ids and metadata of inputs, by their places; empty for none."""

    external_ids: Sequence[str]
    metadata: Sequence[common_pb2.Metadata]

    @classmethod
    def of(
        cls,
        count: int,
        external_ids: Iterable[str] | None,
        metadata: Iterable[Mapping[str, str]] | None,
    ) -> "RowNames":
        """Reads what is said of so many inputs.

        Raises `InvalidArgument` for what no message can carry, and if it is not said of each.
        """
        ids = [] if external_ids is None else strings_in(external_ids, "external_ids")
        said = [build(common_pb2.Metadata, pairs=pairs) for pairs in metadata or ()]
        for field, given in (("external_ids", ids), ("metadata", said)):
            if given and len(given) != count:
                limit, value = f"one for each input ({count})", str(len(given))
                raise InvalidArgument(
                    f"{field} must be {limit}, are {value}", field=field, limit=limit, value=value
                )
        return cls(ids, said)

    def of_row(self, row: int) -> dict[str, Any]:
        """Returns the fields of a row's own message that say it."""
        said: dict[str, Any] = {}
        if self.external_ids:
            said["external_id"] = self.external_ids[row]
        if self.metadata:
            said["metadata"] = self.metadata[row]
        return said

    def put(self, request: prediction_pb2.PredictRequest, rows: Sequence[int]) -> None:
        """Says in a request what is said of the inputs at these places, and nothing else."""
        request.ClearField("external_ids")
        request.ClearField("metadata")
        if self.external_ids:
            request.external_ids.extend(self.external_ids[row] for row in rows)
        if self.metadata:
            request.metadata.extend(self.metadata[row] for row in rows)
