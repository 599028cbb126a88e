"""The little of REST that the demo needs, on one kept-alive connection."""

from __future__ import annotations

import base64
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from service.demo.errors import DemoError
from trunkline.resources import HeadName

TIMEOUT_SECONDS = 60.0


class RestClient:
    """Speaks JSON with the server at `address`, e.g. ``http://127.0.0.1:3000``, and shows a key."""

    def __init__(self, address: str, key: str) -> None:
        self._headers = {"Authorization": f"Bearer {key}"}
        self._connection = http.client.HTTPConnection(
            urlsplit(address).netloc, timeout=TIMEOUT_SECONDS
        )

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def predict(self, head: str, item: bytes | str) -> dict[str, Any]:
        """Returns the prediction for one image or text."""
        reply = self._post(f"/v1/{HeadName.read(head)}:predict", {"inputs": [_input(item)]})
        row: dict[str, Any] = reply["predictions"][0]
        return row

    def feedback(self, head: str, item: bytes | str, label: str) -> None:
        """Stores the right label of one image or text."""
        reply = self._post(
            f"/v1/{HeadName.read(head)}:feedback",
            {"feedback": [{"input": _input(item), "label": label}]},
        )
        if reply["errors"]:
            raise DemoError(f"feedback over REST failed: {reply['errors'][0]['message']}")

    def metrics(self) -> str:
        """Returns the server's metrics in Prometheus' text format."""
        return self._request("GET", "/metrics").decode()

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._request("POST", path, json.dumps(body).encode()))
        return answer

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status != http.client.OK:
            raise DemoError(f"{method} {path} answered {response.status}: {content[:300]!r}")
        return content


def _input(item: bytes | str) -> dict[str, str]:
    if isinstance(item, str):
        return {"text": item}
    return {"image": base64.b64encode(item).decode()}
