"""Plain ways to send rows over REST: an image as the body, and JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message
from starlette.requests import Request
from starlette.responses import Response

from service.errors import InvalidRequest, problem_of
from service.requests.call import Call
from service.transport.answering import ask, received, respond
from service.transport.backend import Backend
from service.transport.json_text import read_object
from service.transport.message_parts import check_json
from service.transport.methods import Method
from service.transport.proto_json import bind, read_message
from service.transport.rest_bodies import LINES, ROWS, write_json
from trunkline.v1 import common_pb2


def media_type_of(request: Request) -> str:
    """Returns what a request says that its body is."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def is_plain(path: str, media_type: str) -> bool:
    """Whether a path takes a body of this kind as rows."""
    rows = path.startswith("/v1/tenants/") and path.endswith((":predict", ":embed"))
    return rows and (media_type in LINES or media_type.startswith("image/"))


def read_image(request_class: Any, body: bytes, bound: Mapping[str, Any]) -> Message:
    """Returns a request of one image; the query string has its other fields."""
    message: Any = read_message(request_class, bind(request_class, {}, bound))
    message.inputs.add(image=body)
    read: Message = message
    return read


async def answer_lines(
    backend: Backend, method: Method, request: Request, bound: Mapping[str, Any], named: str
) -> Response:
    """Answers JSON lines, a row each, with as many lines; one that cannot be read costs itself."""

    async def work(call: Call) -> Response:
        body = await received(backend, request.body, request, call)
        message: Any = read_message(method.request, bind(method.request, {}, bound))
        faults = _read_lines(message, body, backend.max_parts)
        reply = await ask(backend, method.name, message, request, call)
        rows = write_json(reply)[ROWS[method.name]]
        for row, fault in faults.items():
            rows[row]["error"] = fault
        lines = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows]
        content = "".join(line + "\n" for line in lines).encode("utf-8", "replace")
        return Response(content, media_type=LINES[0])

    return await respond(backend, method.name, work, request, named)


def _read_lines(message: Any, body: bytes, max_parts: int) -> dict[int, dict[str, Any]]:
    """Adds a row for each line that is not blank; returns what is wrong with some."""
    check_json(body.decode("utf-8", "replace"), max_parts)
    lines = [line for line in body.split(b"\n") if line.strip()]
    if len(lines) > max_parts:
        raise InvalidRequest.at("body", "at most {limit} lines, has {value}", max_parts, len(lines))
    faults = {}
    for row, line in enumerate(lines):
        try:
            message.inputs.append(read_message(common_pb2.Input, read_object(line, max_parts)))
        except InvalidRequest as error:
            message.inputs.add()
            problem = problem_of(error)
            faults[row] = {
                "row": row,
                "code": problem.status.code.name,
                "message": f"line {row + 1}: {problem.message}",
                "field": problem.field,
                "limit": problem.limit,
                "value": problem.value,
            }
    return faults
