"""Events that Label Studio tells of, as its webhooks write them."""

from __future__ import annotations

import re
from typing import Any

from service.errors import InvalidRequest
from service.transport.json_text import read_object

Json = dict[str, Any]

SAID = ("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED")
TAKEN_BACK = "ANNOTATIONS_DELETED"
TRAINING = "START_TRAINING"

MAX_ID_CHARACTERS = 64
_NO_ID = re.compile("[^A-Za-z0-9]+")


def action_of(body: bytes, max_parts: int) -> str:
    """Returns what an event says that has happened; "" for what is no event."""
    try:
        action = read_object(body, max_parts).get("action")
    except InvalidRequest:  # said again where errors are answered
        return ""
    return action if isinstance(action, str) else ""


def said_of(data: Json) -> list[tuple[Json, Any]]:
    """Returns the annotations of an event, each with its task; of many at once, by its number.

    Raises:
        InvalidRequest: it has none.
    """
    given = data.get("annotation")
    if not isinstance(given, list):
        return [(object_in(data, "annotation"), data.get("task"))]
    tasks = data.get("task")
    by_number = {
        str(task.get("id")): task
        for task in (tasks if isinstance(tasks, list) else [tasks])
        if isinstance(task, dict)
    }
    return [
        (annotation, by_number.get(str(annotation.get("task"))))
        for annotation in given
        if isinstance(annotation, dict)
    ]


def deleted_in(data: Json) -> list[Json]:
    """Returns what an event says of annotations that are gone: their numbers.

    Raises:
        InvalidRequest: it says nothing.
    """
    given = data.get("annotations")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise InvalidRequest.at("annotations", "must be {limit}", "an array of objects")
    return given


def object_in(data: Json, name: str) -> Json:
    """Returns a part of an event.

    Raises:
        InvalidRequest: it is no object.
    """
    found = data.get(name)
    if not isinstance(found, dict):
        raise InvalidRequest.at(name, "must be {limit}", "an object")
    return found


def own_part(annotation: Json) -> str:
    """Returns what ids of all feedback of an annotation begin with, before a hyphen.

    Raises:
        InvalidRequest: it has no number.
    """
    number = annotation.get("id")
    if type(number) is not int or not 0 <= number < 2**63:
        raise InvalidRequest.at("annotation.id", "must be {limit}", "a whole number")
    return f"label-studio-{number}"


def feedback_id(annotation: Json) -> str:
    """Returns the id of what an annotation says now: sent twice it counts once, changed anew."""
    changed = annotation.get("updated_at") or annotation.get("created_at") or "first"
    return _NO_ID.sub("-", f"{own_part(annotation)}-{changed}")[:MAX_ID_CHARACTERS].strip("-")
