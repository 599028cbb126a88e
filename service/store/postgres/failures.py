"""What the errors of PostgreSQL mean.

Its codes: https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from __future__ import annotations

import sqlalchemy

from service.errors import (
    InvalidRequest,
    OutcomeUnknown,
    ServiceError,
    StoredDataDamaged,
    StoreFailed,
    StoreFull,
    Unavailable,
)
from service.store.changes import Changed

RETRY_AFTER = 1.0

_CONFLICTS = {
    "40001",  # serialization failure
    "40P01",  # deadlock
    "55P03",  # a lock was not to be had in its time
}
_UNSEEN = {"23505", "23503"}
"""A key that is taken, or one that is not there: where another transaction has made or deleted it
that was not to be seen yet, who runs again sees it."""
_UNSEEN_TRIES = 3
_AWAY = {
    "57P01",  # it is told to stop
    "57P02",  # it has crashed
    "57P03",  # it starts
    "57P05",
    "25P03",  # this connection was idle for too long
    "53300",  # it has no connection left
    "25006",  # this is a standby now
}
_UNKNOWN = {"40003", "57P01", "57P02"}
_DAMAGE = {"XX001", "XX002"}


def code_of(error: BaseException) -> str:
    """Returns the five characters by which PostgreSQL names an error; "" for none of its own."""
    original = getattr(error, "orig", None) or error
    return getattr(original, "sqlstate", None) or ""


def is_conflict(error: BaseException, tries: int = 0) -> bool:
    """Says whether a transaction lost against another one, and may be run again.

    Args:
        tries: how often it was run again.
    """
    code = code_of(error)
    return code in _CONFLICTS or (code in _UNSEEN and tries < _UNSEEN_TRIES)


def is_away(error: BaseException) -> bool:
    """Says whether PostgreSQL cannot be reached, or not be worked with, for the time being."""
    code = code_of(error)
    if code:
        return code in _AWAY or code.startswith("08")
    lost = getattr(error, "connection_invalidated", False)
    return lost or isinstance(
        error, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError
    )


def is_outcome_unknown(error: BaseException) -> bool:
    """Says, of an error of a commit, whether the transaction may have been committed all the same.

    With any other code it was not: the server has said so itself.
    """
    code = code_of(error)
    return not code or code in _UNKNOWN or code.startswith("08")


def as_failure(error: BaseException, what: str) -> ServiceError:
    """Converts an error of PostgreSQL; the client is told nothing of the statement.

    Args:
        what: the store could not be: `read` or `written`.
    """
    failure = _meaning(error, what)
    failure.__cause__ = error
    return failure


def away(words: str = "it cannot be reached") -> Unavailable:
    """Returns the error of a store that cannot be worked with for the time being."""
    return Unavailable(
        f"the store does not answer, as {words}; try again later",
        field="store",
        retry_after=RETRY_AFTER,
    )


def unknown_outcome(error: BaseException, changed: Changed) -> OutcomeUnknown:
    """Returns the error of a commit of which nobody knows whether it was one.

    Args:
        changed: what it has changed if it was.
    """
    failure = OutcomeUnknown(
        "the store was lost while it committed this: it may be done or not; look before it is "
        "asked for again, unless twice is no more than once",
        field="store",
        retry_after=RETRY_AFTER,
    )
    failure.__cause__, failure.changed = error, changed
    return failure


def words_of(error: BaseException) -> str:
    """Returns what PostgreSQL says, in one line and without the statement."""
    return " ".join(str(getattr(error, "orig", None) or error).split())


def _meaning(error: BaseException, what: str) -> ServiceError:
    code = code_of(error)
    if is_away(error):
        return away()
    if code in _CONFLICTS:
        return away("too much was changed at once")
    if code == "57014":
        return away("this took it too long")
    if code == "53100":
        return StoreFull("store: the disk of PostgreSQL is full", field="store")
    if code in _DAMAGE:
        return StoredDataDamaged(f"the store could not be {what}, since its data are damaged")
    if code == "22021" or (isinstance(error, sqlalchemy.exc.DataError) and "NUL" in str(error)):
        return InvalidRequest(
            "a text has the character U+0000 in it, which PostgreSQL does not keep",
            limit="texts without U+0000",
        )
    return StoreFailed(f"the store could not be {what}")
