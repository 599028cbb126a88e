"""The member `error` of a problem document, which clients of other protocols read."""

from __future__ import annotations

import math
from typing import Any

from service.errors import Problem
from service.transport.foreign.paths import is_hugging_face, is_oip, is_openai


def error_member(path: str, problem: Problem, status: int) -> dict[str, Any]:
    """Returns what the document has beside RFC 9457's members; nothing on the API's own paths."""
    if is_oip(path) or is_hugging_face(path):
        return {"error": problem.message}
    if not is_openai(path):
        return {}
    return {
        "error": {
            "message": problem.message,
            "type": "invalid_request_error" if status < 500 else "server_error",
            "param": problem.field or None,
            "code": problem.reason.lower(),
        }
    }


def retry_headers(path: str, problem: Problem) -> dict[str, str]:
    """Returns what tells OpenAI's clients whether to try again, and when."""
    if not is_openai(path):
        return {}
    if problem.retry_after is not None:
        return {"retry-after-ms": str(math.ceil(problem.retry_after * 1000))}
    return {"x-should-retry": "false"}
