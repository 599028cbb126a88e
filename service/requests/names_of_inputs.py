"""What a request says of its inputs beside themselves: external ids and metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.errors import InvalidRequest
from service.requests.fields import check_external_id
from service.requests.inputs import RawInput
from service.requests.metadata import check_metadata
from trunkline.v1 import prediction_pb2

Said = tuple[str, Mapping[str, str]]
"""An external id, "" for none, and metadata."""


def check_names(request: prediction_pb2.PredictRequest) -> None:
    """Refuses a request that says something of some inputs alone.

    Raises:
        InvalidRequest: naming field, limit and value.
    """
    rows = len(request.inputs)
    for field in ("external_ids", "metadata"):
        given = len(getattr(request, field))
        if given not in (0, rows):
            raise InvalidRequest.at(
                field, "needs one per input ({limit}) or none, has {value}", rows, given
            )
    if request.capture not in prediction_pb2.CaptureChoice.values():
        raise InvalidRequest.at(
            "capture", "there is none with the number {value}", "always, never", request.capture
        )


def read_names(
    request: prediction_pb2.PredictRequest, raws: list[RawInput | Exception]
) -> Sequence[Said]:
    """Returns what is said of each input; none if nothing is said of any.

    Args:
        raws: the inputs; one of which something is said that is refused becomes an error.
    """
    if not request.external_ids and not request.metadata:
        return ()
    said: list[Said] = []
    for row in range(len(raws)):
        try:
            name = check_external_id(request.external_ids[row]) if request.external_ids else ""
            pairs = request.metadata[row].pairs if request.metadata else {}
            said.append((name, check_metadata("metadata", pairs)))
        except InvalidRequest as error:
            raws[row] = error
            said.append(("", {}))
    return said
