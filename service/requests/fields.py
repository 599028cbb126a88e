"""Single fields of requests, checked."""

from __future__ import annotations

import re
from collections.abc import Iterable

from service.errors import InvalidRequest
from trunkline.labels import normalised, unseen, visible

MIN_WEIGHT, MAX_WEIGHT = 1e-3, 1e3
"""Far above it, sums in float64 would lose the examples of weight 1."""

NO_CHARACTER = "\uffff"
"""What Unicode says is no character. It stands for half of a surrogate pair, which no message can
carry: its row is refused where labels, ids and names are checked."""

_FEEDBACK_ID = re.compile("[A-Za-z0-9_.-]{1,64}")


MAX_TIME = 253_402_300_799.0
"""The end of the year 9999."""


def check_time(field: str, seconds: float) -> float:
    """Returns a time if it is one, in seconds since 1970.

    Raises:
        InvalidRequest: it is not a number from 0 to `MAX_TIME`.
    """
    if not 0 <= seconds <= MAX_TIME:
        raise InvalidRequest.at(
            field, "must be seconds since 1970, at most {limit}, is {value}", MAX_TIME, seconds
        )
    return seconds


def check_weight(weight: float) -> float:
    """Returns the weight of an example if it is valid.

    Raises:
        InvalidRequest: it is not a number from MIN_WEIGHT to MAX_WEIGHT.
    """
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        raise InvalidRequest.at(
            "weight",
            "must be {limit}, is {value}",
            f"from {MIN_WEIGHT:g} to {MAX_WEIGHT:g}",
            weight,
        )
    return weight


def check_label(label: str, max_bytes: int, field: str = "label") -> str:
    """Returns the label in its normal form if it is valid.

    Raises:
        InvalidRequest: it is empty, too long, or has control characters or outer white space.
    """
    label = normalised(label)
    size = len(label.encode())
    if not 1 <= size <= max_bytes:
        raise InvalidRequest.at(
            field, "from 1 to {limit} bytes of UTF-8, has {value}", max_bytes, size
        )
    if NO_CHARACTER in label:
        place = label.index(NO_CHARACTER) + 1
        raise InvalidRequest(
            f"{field}: must be valid Unicode, character {place} is not, is {label!r}",
            field=field,
            limit="valid Unicode",
            value=label,
        )
    return _check_printable(field, label)


def normalised_labels(labels: Iterable[str], field: str) -> dict[str, str]:
    """Returns normal forms by the labels as given, in their order; a label given twice is once.

    Raises:
        InvalidRequest: two of them become one. They look the same, so they are named in ASCII.
    """
    given: dict[str, str] = {}
    for label in labels:
        first = given.setdefault(normalised(label), label)
        if first != label:
            raise InvalidRequest(
                f"{field}: {first!a} and {label!a} are the same label, written in two "
                "Unicode forms",
                field=field,
                limit="one form of each label",
                value=ascii(label),
            )
    return {label: form for form, label in given.items()}


MAX_FAMILY_BYTES = 64


def check_family(family: str) -> str:
    """Returns the name of an imported head's family, which nobody but its author knows.

    Raises:
        InvalidRequest: it is too long, or has control or format characters.
    """
    size = len(family.encode())
    if size > MAX_FAMILY_BYTES or not family.isprintable():
        raise InvalidRequest(
            f"family: must be printable, at most {MAX_FAMILY_BYTES} bytes of UTF-8, is "
            f"{family[:100]!r} of {size}",
            field="family",
            limit=f"printable, at most {MAX_FAMILY_BYTES} bytes",
            value=family,
        )
    return family


MAX_GROUP_BYTES = 256


def check_group(group: str) -> str:
    """Returns the name of a group in its normal form if it is valid; empty for none.

    Raises:
        InvalidRequest: it is too long, or has control characters or outer white space.
    """
    group = normalised(group)
    size = len(group.encode())
    if size > MAX_GROUP_BYTES:
        raise InvalidRequest.at(
            "group", "at most {limit} bytes of UTF-8, has {value}", MAX_GROUP_BYTES, size
        )
    return _check_printable("group", group)


MAX_EXTERNAL_ID_BYTES = 256


def check_external_id(name: str, field: str = "external_id") -> str:
    """Returns a caller's name for an input as it is if it is valid; empty for none.

    What is wrong is said without the name itself: reasons are logged, and no log has a name.

    Raises:
        InvalidRequest: it is too long, or has what a terminal would obey.
    """
    size = len(name.encode())
    if size > MAX_EXTERNAL_ID_BYTES:
        raise InvalidRequest.at(
            field, "at most {limit} bytes of UTF-8, has {value}", MAX_EXTERNAL_ID_BYTES, size
        )
    if NO_CHARACTER in name or visible(name) != name:
        raise InvalidRequest(
            f"{field}: must be valid Unicode without control characters",
            field=field,
            limit="printable",
            value=ascii(name),
        )
    return name


MAX_NOTE_BYTES = 256


def check_note(note: str) -> str:
    """Returns what somebody says of a key, for people to read; empty for nothing.

    Raises:
        InvalidRequest: it is too long, or has control characters or outer white space.
    """
    size = len(note.encode())
    if size > MAX_NOTE_BYTES:
        raise InvalidRequest.at(
            "note", "at most {limit} bytes of UTF-8, has {value}", MAX_NOTE_BYTES, size
        )
    return _check_printable("note", note)


def _check_printable(field: str, text: str) -> str:
    if text != text.strip() or unseen(text):
        raise InvalidRequest(
            f"{field}: must have no control characters and no white space around it, is {text!r}",
            field=field,
            limit="printable",
            value=text,
        )
    return text


def check_feedback_id(feedback_id: str) -> str:
    """Returns the id if it is valid.

    Raises:
        InvalidRequest: it is malformed.
    """
    if not _FEEDBACK_ID.fullmatch(feedback_id):
        raise InvalidRequest.at(
            "id", "must match {limit}, is {value!r}", _FEEDBACK_ID.pattern, feedback_id
        )
    return feedback_id


def check_rows(field: str, count: int, limit: int) -> None:
    """Refuses a request without rows or with too many.

    Raises:
        InvalidRequest: naming field, limit and value.
    """
    if not 1 <= count <= limit:
        raise InvalidRequest.at(
            field, "from 1 to {limit} in one request, has {value}", limit, count
        )
