"""What can go wrong, as one tree of exceptions.

TrunklineError                 the root; a code of its own only where no class below fits
├── InvalidArgument            a field, a limit and the value that broke it
│   ├── InvalidType            also a TypeError: a value of a type that is not taken there
│   └── DatasetError           a folder or table of examples that cannot be read
├── OutOfRange
├── NotFound
├── AlreadyExists
├── PermissionDenied
├── Unauthenticated
├── FailedPrecondition         e.g. a head without an active version
├── Aborted
├── ResourceExhausted          a full queue (with `retry_after`) or a size beyond its bound
├── Unavailable                no server, or one that cannot answer now
├── DeadlineExceeded
├── Cancelled
├── Unimplemented
├── Internal
├── DataLoss                   a reply that contradicts itself
└── Unknown
"""

from typing import ClassVar


class TrunklineError(Exception):
    """The root of all errors that the client raises.

    `code` is the canonical gRPC code name, `reason` the server's machine-readable reason; `field`,
    `limit` and `value` say what was wrong where it was one field; `retry_after` is in seconds,
    present where trying again helps; `request_id` finds the request in the server's log.
    """

    code: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        field: str = "",
        limit: str = "",
        value: str = "",
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.field = field
        self.limit = limit
        self.value = value
        self.retry_after = retry_after
        self.request_id = request_id


class InvalidArgument(TrunklineError):
    """The request can never succeed as it is."""

    code = "INVALID_ARGUMENT"


class InvalidType(InvalidArgument, TypeError):
    """A value of a type that is not taken there; the message says what to give instead."""


class DatasetError(InvalidArgument):
    """A folder or table of examples cannot be read; the message names file and line."""


class OutOfRange(TrunklineError):
    """A position beyond the valid range."""

    code = "OUT_OF_RANGE"


class NotFound(TrunklineError):
    """No such head, version, training, backbone or input."""

    code = "NOT_FOUND"


class AlreadyExists(TrunklineError):
    """The name is taken."""

    code = "ALREADY_EXISTS"


class PermissionDenied(TrunklineError):
    """The token does not allow it."""

    code = "PERMISSION_DENIED"


class Unauthenticated(TrunklineError):
    """The token is missing or not valid."""

    code = "UNAUTHENTICATED"


class FailedPrecondition(TrunklineError):
    """The state of the head does not allow it, e.g. it has no active version."""

    code = "FAILED_PRECONDITION"


class Aborted(TrunklineError):
    """A concurrent change was in the way."""

    code = "ABORTED"


class ResourceExhausted(TrunklineError):
    """A queue is full (`retry_after` is set), or something is larger than its bound."""

    code = "RESOURCE_EXHAUSTED"


class Unavailable(TrunklineError):
    """The server cannot be reached or cannot answer now, and was given its time to recover."""

    code = "UNAVAILABLE"


class DeadlineExceeded(TrunklineError):
    """The deadline passed before the answer came."""

    code = "DEADLINE_EXCEEDED"


class Cancelled(TrunklineError):
    """Somebody cancelled the request or the training."""

    code = "CANCELLED"


class Unimplemented(TrunklineError):
    """The server does not know this method."""

    code = "UNIMPLEMENTED"


class Internal(TrunklineError):
    """A fault of the server; `request_id` finds it in the log."""

    code = "INTERNAL"


class DataLoss(TrunklineError):
    """What came back contradicts itself."""

    code = "DATA_LOSS"


class Unknown(TrunklineError):
    """An error that the server did not classify."""

    code = "UNKNOWN"


BY_CODE: dict[str, type[TrunklineError]] = {
    error.code: error for error in TrunklineError.__subclasses__()
}
