"""From a failed RPC to an exception of the tree in `errors`."""

import re
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from trunkline import errors
from trunkline.connection.unreachable import unreachable

_TOO_LARGE = re.compile(r"(Sent|Received) message larger than max \((\d+) vs\. (\d+)\)")
_CUT = re.compile("Stream removed|RST_STREAM|END_STREAM")
_DETAILS = "grpc-status-details-bin"
_REQUEST_ID = "x-request-id"


def error_from_rpc(rpc_error: grpc.RpcError, address: str = "") -> errors.TrunklineError:
    """Returns a failed call's exception, with the details of the server (google.rpc.Status).

    Where gRPC itself failed, what it says of `address` and of sizes is put into our words.
    """
    code = rpc_error.code()
    words = rpc_error.details() or code.name
    trailing: Any = rpc_error.trailing_metadata() or ()  # pairs, which the types do not say
    metadata: dict[str, str | bytes] = dict(trailing)
    own = _own(code.name, words, address, answered=_REQUEST_ID in metadata)
    if own is not None:
        return own
    info, retry_after, request_id = _details(metadata.get(_DETAILS))
    return errors.BY_CODE.get(code.name, errors.Unknown)(
        words,
        reason=info.reason,
        field=info.metadata.get("field", ""),
        limit=info.metadata.get("limit", ""),
        value=info.metadata.get("value", ""),
        retry_after=retry_after,
        request_id=request_id or _text(metadata.get(_REQUEST_ID)),
    )


def _own(code: str, words: str, address: str, *, answered: bool) -> errors.TrunklineError | None:
    """Returns the error that gRPC made itself, if it is a known one.

    Args:
        answered: whether a server of ours answered the call.
    """
    if code == "UNAVAILABLE":
        return unreachable(words, address)
    if code == words == "CANCELLED" and not answered:  # who cancels a call here has other words
        return errors.Unavailable(f"{address or 'the server'} closed its port amid the call")
    if code in ("INTERNAL", "UNKNOWN") and not answered and _CUT.search(words):
        # A proxy ends so what a server that died had begun to answer.
        return errors.Unavailable(f"{address or 'the server'} was lost amid the call: {words}")
    too_large = _TOO_LARGE.search(words)
    if code != "RESOURCE_EXHAUSTED" or too_large is None:
        return None
    what = "reply" if too_large[1] == "Received" else "request"
    return errors.ResourceExhausted(
        f"{what}: at most {too_large[3]} bytes in one message, has {too_large[2]}; ask for or send "
        "less at once",
        field=what,
        limit=too_large[3],
        value=too_large[2],
    )


def _details(
    packed: str | bytes | None,
) -> tuple[error_details_pb2.ErrorInfo, float | None, str]:
    """Reads error info, seconds to wait (None where unsaid) and request id ("" where unsaid)."""
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.RequestInfo()
    retry, retry_after = error_details_pb2.RetryInfo(), None
    for detail in _unpacked(packed):
        if detail.Is(retry.DESCRIPTOR) and detail.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
        elif detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Is(request.DESCRIPTOR):
            detail.Unpack(request)
    return info, retry_after, request.request_id


def _unpacked(packed: str | bytes | None) -> Iterable[any_pb2.Any]:
    if not isinstance(packed, bytes):
        return ()
    try:
        details: Iterable[any_pb2.Any] = status_pb2.Status.FromString(packed).details
        return details
    except DecodeError:  # a proxy's, or a newer server's: the code and the message still count
        return ()


def _text(value: str | bytes | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
