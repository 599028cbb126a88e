"""Every error a client can see, and the one table from error to gRPC code and HTTP status.

    ServiceError
    ├── InvalidRequest          a field is malformed, or outside its limit
    │   ├── UnsupportedMediaType
    │   ├── BodyTooLarge
    │   ├── TargetTooLong       path and query of a REST request
    │   └── HeadersTooLarge
    ├── Forbidden               a web page of another site sent it
    ├── Unauthenticated         no key, or none that is good
    ├── PermissionDenied        the key has no role for it, or it may be asked on this machine only
    ├── NotFound                no such head, version, training, example, input or backbone
    ├── AlreadyExists
    ├── PreconditionFailed      the request is fine, the state is not (no active version, …)
    │   └── FingerprintMismatch an embedding or head of another backbone
    ├── Aborted                 lost against a concurrent change; try again
    │   └── ExamplesForgotten   that a training has read: it begins anew
    ├── LimitExceeded           a stored quantity would grow beyond its limit
    │   ├── StoreFull           there is no room on the disk
    │   └── StorageQuotaExceeded    the tenant may not store as much
    ├── QueueFull               too many rows are waiting; try again later
    │   ├── TooLate             a row cannot be done before its deadline
    │   └── QuotaExceeded       the tenant has used what it may for now
    ├── DeadlineExceeded
    │   └── RequestTimeout      the client took too long to send it
    ├── RequestCancelled        the client left
    ├── Unavailable             starting, draining, or the extractor is away; try again later
    │   └── OutcomeUnknown      the store was lost while it committed a write
    ├── UnknownMethod
    ├── InternalError
    │   ├── BackboneFailed      a forward pass raised
    │   ├── FitFailed           a fit failed by a fault of the server
    │   ├── FitterDied          the training process ended unexpectedly, or hung
    │   └── StoreFailed
    │       └── StoredDataDamaged   what was read is not what was stored
    └── StartupError            never on the wire: the server refuses to start
        ├── InvalidSettings
        ├── DataDirectoryLocked
        ├── DataDirectoryTooNew
        ├── DataDirectoryUnreadable     it cannot be read, or written by this process
        ├── DataDirectoryDamaged        its store is damaged
        └── StoreMissing                files of a store lie there, and the store does not

``models.ModelError``, ``adapters.AdapterError`` and ``trunkline.resources.InvalidName`` are the
roots of those packages, which know nothing of transports; the table covers them, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, LiteralString, NamedTuple, Self

import grpc

import adapters
import models
from trunkline.resources import HeadName, InvalidName

MAX_SHOWN = 200
"""As many characters of a value are shown in a sentence: enough for every resource name."""


class ServiceError(Exception):
    """Root of the server's own errors.

    Args:
        message: one sentence for the client, with nothing secret in it.
        field: the request's field at fault, if there is one.
        limit: what the field must respect.
        value: what it was; shortened to `MAX_VALUE_BYTES`.
        retry_after: seconds after which a retry makes sense, or None if it never does.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        limit: object = None,
        value: object = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.limit = limit
        self.value = value
        self.retry_after = retry_after
        self.hidden = False

    def as_hidden(self) -> Self:
        """Says that it may be there, but not for who asks: to the audit log, and to nobody else."""
        self.hidden = True
        return self

    @classmethod
    def at(
        cls,
        field: str,
        words: LiteralString,
        limit: object = None,
        value: object = None,
        *,
        retry_after: float | None = None,
    ) -> Self:
        """Makes an error whose sentence tells no more than its facts do.

        Args:
            words: what is wrong with the field, never with anything of a client in it. In it,
                `{limit}` and `{value}` stand for these facts, as in `str.format`; a value that
                is text is shown up to `MAX_SHOWN` characters.
        """
        shown = value[:MAX_SHOWN] if isinstance(value, str) else value
        message = f"{field}: {words.format(limit=limit, value=shown)}"
        return cls(message, field=field, limit=limit, value=value, retry_after=retry_after)


class InvalidRequest(ServiceError): ...


class UnsupportedMediaType(InvalidRequest): ...


class BodyTooLarge(InvalidRequest): ...


class TargetTooLong(InvalidRequest): ...


class HeadersTooLarge(InvalidRequest): ...


class Forbidden(ServiceError): ...


class Unauthenticated(ServiceError): ...


class PermissionDenied(ServiceError): ...


class NotFound(ServiceError): ...


class AlreadyExists(ServiceError): ...


class PreconditionFailed(ServiceError): ...


class FingerprintMismatch(PreconditionFailed): ...


class Aborted(ServiceError): ...


class ExamplesForgotten(Aborted): ...


class LimitExceeded(ServiceError): ...


class StoreFull(LimitExceeded): ...


class StorageQuotaExceeded(LimitExceeded):
    """What a tenant may store is stored; `subject` is the tenant's name."""

    def __init__(self, message: str, *, subject: str, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.subject = subject


class QueueFull(ServiceError): ...


class TooLate(QueueFull): ...


class QuotaExceeded(QueueFull):
    """What a tenant may use is used for now; `subject` is the tenant's name."""

    def __init__(self, message: str, *, subject: str, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.subject = subject


class DeadlineExceeded(ServiceError): ...


class RequestTimeout(DeadlineExceeded): ...


class RequestCancelled(ServiceError): ...


class Unavailable(ServiceError): ...


class OutcomeUnknown(Unavailable):
    """The write is done, or it is not.

    Attributes:
        changed: what it has changed if it is done (`service.store.changes.Changed`).
    """

    changed: Any = None


class UnknownMethod(ServiceError): ...


class InternalError(ServiceError): ...


class BackboneFailed(InternalError): ...


class FitFailed(InternalError): ...


class FitterDied(InternalError): ...


class StoreFailed(InternalError): ...


class StoredDataDamaged(StoreFailed): ...


class StartupError(ServiceError): ...


class InvalidSettings(StartupError): ...


class DataDirectoryLocked(StartupError): ...


class DataDirectoryTooNew(StartupError): ...


class DataDirectoryUnreadable(StartupError): ...


class DataDirectoryDamaged(StartupError): ...


class StoreMissing(StartupError): ...


def no_head(name: HeadName) -> NotFound:
    """Returns the error of a head that does not exist, or that the caller may not see."""
    return NotFound(f"head: there is no {name}", field="head", value=str(name))


def no_tenant(tenant: str) -> NotFound:
    """Returns the error of a tenant that does not exist, or that the caller may not see."""
    return NotFound(
        f"tenant: there is no tenants/{tenant}", field="tenant", value=f"tenants/{tenant}"
    )


class Status(NamedTuple):
    """The codes of an error on the wire."""

    code: grpc.StatusCode
    http: int


STATUSES: dict[type[Exception], Status] = {
    ServiceError: Status(grpc.StatusCode.INTERNAL, 500),
    InvalidRequest: Status(grpc.StatusCode.INVALID_ARGUMENT, 400),
    UnsupportedMediaType: Status(grpc.StatusCode.INVALID_ARGUMENT, 415),
    BodyTooLarge: Status(grpc.StatusCode.INVALID_ARGUMENT, 413),
    TargetTooLong: Status(grpc.StatusCode.INVALID_ARGUMENT, 414),
    HeadersTooLarge: Status(grpc.StatusCode.INVALID_ARGUMENT, 431),
    Forbidden: Status(grpc.StatusCode.PERMISSION_DENIED, 403),
    Unauthenticated: Status(grpc.StatusCode.UNAUTHENTICATED, 401),
    PermissionDenied: Status(grpc.StatusCode.PERMISSION_DENIED, 403),
    NotFound: Status(grpc.StatusCode.NOT_FOUND, 404),
    AlreadyExists: Status(grpc.StatusCode.ALREADY_EXISTS, 409),
    PreconditionFailed: Status(grpc.StatusCode.FAILED_PRECONDITION, 400),
    FingerprintMismatch: Status(grpc.StatusCode.FAILED_PRECONDITION, 400),
    Aborted: Status(grpc.StatusCode.ABORTED, 409),
    ExamplesForgotten: Status(grpc.StatusCode.ABORTED, 409),
    LimitExceeded: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    StoreFull: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    StorageQuotaExceeded: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    QueueFull: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    TooLate: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    QuotaExceeded: Status(grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    DeadlineExceeded: Status(grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    RequestTimeout: Status(grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    RequestCancelled: Status(grpc.StatusCode.CANCELLED, 499),
    Unavailable: Status(grpc.StatusCode.UNAVAILABLE, 503),
    OutcomeUnknown: Status(grpc.StatusCode.UNAVAILABLE, 503),
    UnknownMethod: Status(grpc.StatusCode.UNIMPLEMENTED, 404),
    InternalError: Status(grpc.StatusCode.INTERNAL, 500),
    BackboneFailed: Status(grpc.StatusCode.INTERNAL, 500),
    FitFailed: Status(grpc.StatusCode.INTERNAL, 500),
    FitterDied: Status(grpc.StatusCode.INTERNAL, 500),
    StoreFailed: Status(grpc.StatusCode.INTERNAL, 500),
    StoredDataDamaged: Status(grpc.StatusCode.INTERNAL, 500),
    StartupError: Status(grpc.StatusCode.INTERNAL, 500),
    InvalidSettings: Status(grpc.StatusCode.INTERNAL, 500),
    DataDirectoryLocked: Status(grpc.StatusCode.INTERNAL, 500),
    DataDirectoryTooNew: Status(grpc.StatusCode.INTERNAL, 500),
    DataDirectoryUnreadable: Status(grpc.StatusCode.INTERNAL, 500),
    DataDirectoryDamaged: Status(grpc.StatusCode.INTERNAL, 500),
    StoreMissing: Status(grpc.StatusCode.INTERNAL, 500),
    InvalidName: Status(grpc.StatusCode.INVALID_ARGUMENT, 400),
    models.ModelError: Status(grpc.StatusCode.INTERNAL, 500),
    models.InvalidInput: Status(grpc.StatusCode.INVALID_ARGUMENT, 400),
    adapters.AdapterError: Status(grpc.StatusCode.INTERNAL, 500),
    adapters.InvalidArgument: Status(grpc.StatusCode.INVALID_ARGUMENT, 400),
}


MAX_MESSAGE_BYTES = 1000
MAX_VALUE_BYTES = 100
"""gRPC carries errors in headers of 16 kB in all, where a byte beyond ASCII becomes three."""


class Problem(NamedTuple):
    """An error as clients see it, the same over both transports.

    `subject` is the tenant whose quota it is about, "" for none.
    """

    status: Status
    reason: str
    message: str
    field: str
    limit: str
    value: str
    retry_after: float | None
    subject: str = ""


def status_of(error: BaseException) -> Status:
    """Returns the status of the nearest ancestor in the table; INTERNAL for what is not ours."""
    for ancestor in type(error).__mro__:
        if ancestor in STATUSES:
            return STATUSES[ancestor]
    return STATUSES[InternalError]


def is_hidden(error: BaseException) -> bool:
    """Returns whether an error calls missing what its caller may not see."""
    return isinstance(error, ServiceError) and error.hidden


def is_expected(error: BaseException) -> bool:
    """Returns whether the error says something about the request rather than about the server."""
    return status_of(error).code is not grpc.StatusCode.INTERNAL


def problem_of(error: BaseException) -> Problem:
    """Describes an error for a client; an unexpected one without any details."""
    status = status_of(error)
    if not isinstance(error, (ServiceError, InvalidName, models.ModelError, adapters.AdapterError)):
        return Problem(status, "INTERNAL_ERROR", "internal error", "", "", "", None)
    return Problem(
        status=status,
        reason=_upper_snake(type(error).__name__),
        message=_shortened(str(error), MAX_MESSAGE_BYTES),
        field=_text(getattr(error, "field", None)),
        limit=_text(getattr(error, "limit", None)),
        value=_text(getattr(error, "value", None)),
        retry_after=getattr(error, "retry_after", None),
        subject=getattr(error, "subject", ""),
    )


def again(
    reason: str,
    message: str,
    *,
    field: str = "",
    limit: str = "",
    value: str = "",
    retry_after: float | None = None,
) -> Exception:
    """Makes an error again that another process of this server has described to a client.

    Args:
        reason: of its `Problem`, as are the rest.
    """
    roots = (ServiceError, InvalidName, models.ModelError, adapters.AdapterError)
    kinds = {_upper_snake(kind.__name__): kind for root in roots for kind in _descendants(root)}
    kind = kinds.get(reason, InternalError)
    error = kind.__new__(kind)  # what its constructor would say is said in the message
    Exception.__init__(error, message)
    facts = {"field": field, "limit": limit, "value": value, "message": message}
    vars(error).update(facts, retry_after=retry_after, hidden=False, subject="")
    return error


def _descendants(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for child in root.__subclasses__():
        yield from _descendants(child)


def words_for_log(message: str, value: object) -> str:
    """Returns a sentence without what a client sent: no text and no label is in a log.

    It ends where the value begins that it tells of, unless that is a number or the name of a
    resource; and what it quotes is left out.
    """
    if isinstance(value, str) and not _NAME.fullmatch(value):
        begins = {shown[:_BEGINS] for shown in (value, repr(value)[1:-1], ascii(value)[1:-1])}
        places = [place for begin in begins if begin and (place := message.find(begin)) >= 0]
        message = message[: min(places)] + "…" if places else message
    return _QUOTED.sub("…", message)


def reason_for_log(error: Exception) -> str:
    """Returns what the log says of an error that is expected: `words_for_log`."""
    return words_for_log(problem_of(error).message, getattr(error, "value", None))


_BEGINS = 16
"""Characters by which a value is found in a sentence, which may have it shortened."""
_QUOTED = re.compile("['\"].*['\"]", re.DOTALL)
_NAME = re.compile(r"(tenants|keys)(/[A-Za-z0-9_.-]{1,63}){1,5}")


def _text(value: object) -> str:
    return "" if value is None else _shortened(str(value), MAX_VALUE_BYTES)


def _shortened(text: str, limit: int) -> str:
    """Returns as much of the text as fits into so many bytes of UTF-8; what is no text, escaped."""
    return text.encode(errors="backslashreplace")[:limit].decode(errors="ignore")


@lru_cache(maxsize=256)
def _upper_snake(name: str) -> str:
    return "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(name)).upper()


def forget_frames(error: BaseException) -> None:
    """Removes the tracebacks of an error and of those behind it.

    A frame that holds its error, as many do, is otherwise freed by the garbage collector alone.
    """
    behind: BaseException | None = error
    while behind is not None and behind.__traceback__ is not None:
        behind.__traceback__ = None
        behind = behind.__cause__ or behind.__context__
