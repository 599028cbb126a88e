"""From a failed RPC to an exception of the tree in `errors`."""

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from trunkline import errors

_DETAILS = "grpc-status-details-bin"
_REQUEST_ID = "x-request-id"


def error_from_rpc(rpc_error: grpc.RpcError) -> errors.TrunklineError:
    """Returns a failed call's exception, with the details of the server (google.rpc.Status)."""
    code = rpc_error.code()
    trailing: Any = rpc_error.trailing_metadata() or ()  # pairs, which the types do not say
    metadata: dict[str, str | bytes] = dict(trailing)
    info, retry_after, request_id = _details(metadata.get(_DETAILS))
    return errors.BY_CODE.get(code.name, errors.Unknown)(
        rpc_error.details() or code.name,
        reason=info.reason,
        field=info.metadata.get("field", ""),
        limit=info.metadata.get("limit", ""),
        value=info.metadata.get("value", ""),
        retry_after=retry_after,
        request_id=request_id or _text(metadata.get(_REQUEST_ID)),
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
