"""Calls with a key, over both transports, and all that their answers show."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import grpc
import httpx
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.rpc import status_pb2

from service.transport.methods import OF_THE_SERVER, TAILS, methods_of
from tests.e2e.access.routes import Route
from tests.e2e.access.rpcs import Rpc
from tests.e2e.transports import SECONDS

METHODS = {method.path: method for method in methods_of(*OF_THE_SERVER, TAILS)}
PACKAGE = "/trunkline.v1."

TRANSPORTS = ("grpc", "rest")

Key = str | None
Ids = Mapping[str, str]
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """What a caller sees of an answer.

    Attributes:
        code: of gRPC, by its name.
        shown: all that was sent, but for request ids and the time of day.
        reply: the first message; empty over REST if it was refused.
    """

    code: str
    shown: str
    reply: Any = None

    def without(self, *names: str) -> str:
        """What it shows, whatever these names are."""
        shown = self.shown
        for name in names:
            shown = shown.replace(name, "NAME")
        return shown


class Asking:
    """The two ports of a server."""

    def __init__(self, grpc_address: str, rest_address: str) -> None:
        self._channel: Any = grpc.insecure_channel(grpc_address)
        self.http = httpx.Client(base_url=rest_address, timeout=SECONDS)

    def close(self) -> None:
        self._channel.close()
        self.http.close()

    def both(self, rpc: Rpc, key: Key, of: Ids) -> list[Answer]:
        """What an RPC and its twin answer.

        Args:
            of: what the names in the row stand for.
        """
        return [self.one(rpc, key, over, of) for over in TRANSPORTS]

    def one(self, rpc: Rpc, key: Key, over: str, of: Ids) -> Answer:
        """What an RPC answers over one of `TRANSPORTS`."""
        fields = {**rpc.more}
        if rpc.name:
            fields[rpc.field] = rpc.name.format(**of)
        if over == "grpc":
            return self.over_grpc(rpc.method, [fields], shown(key))
        verb, path = rpc.rest.split(" ")
        if "{}" in path:
            path = path.format(fields.pop(rpc.field))
        return self.over_rest(verb, path, fields, shown(key))

    def route(self, route: Route, key: Key) -> Answer:
        """What a route or a method that is no RPC's answers."""
        if route.asked.startswith("/"):
            return self.raw_grpc(route.asked, [route.given["message"]], shown(key))
        verb, path = route.asked.split(" ", 1)
        headers = dict(shown(key)) | route.given.get("headers", {})
        return self.raw_rest(verb, path, **{**route.given, "headers": headers})

    def listed(self, rpc: Rpc, key: Key, over: str) -> dict[str, Any]:
        """A page of a list, in the form of JSON."""
        answer = self.one(rpc, key, over, {})
        assert answer.code == "OK", answer
        page: dict[str, Any]
        page = answer.reply.json() if over == "rest" else MessageToDict(answer.reply)
        return page

    def whatever(self, rpc: Rpc, of: Ids, good: str, bad: Mapping[str, Key]) -> Iterator[Answer]:
        """A bad body, a wrong media type, a good key in the wrong place: all without a good key."""
        path, (verb, rest) = PACKAGE + rpc.method, rpc.rest.split(" ")
        rest, unknown = rest.format(rpc.name.format(**of)), dict(shown(bad["unknown"]))
        yield self.raw_grpc(path, [b"\xff\xff"])
        yield self.raw_grpc(path, [], shown(bad["expired"]))
        for scheme in ("Bearer", f"Basic {good}", good):
            yield self.raw_grpc(path, [b""], (("authorization", scheme),))
            yield self.raw_rest(verb, rest, headers={"authorization": scheme})
        yield self.raw_grpc(path, [b""], (("cookie", good), ("x-api-key", "")))
        yield self.raw_rest(verb, rest, content=b"{", headers=unknown)
        yield self.raw_rest(
            verb, rest, content=b"x", headers={"content-type": "application/pickle"}
        )
        yield self.raw_rest(verb, rest, headers={"x-request-timeout": "never", **unknown})
        for query in ("key", "token", "access_token", "x-api-key", "authorization"):
            yield self.raw_rest(verb, rest, params={query: good})

    def over_grpc(
        self, method: str, messages: Iterable[Mapping[str, Any]], metadata: Metadata = ()
    ) -> Answer:
        known = METHODS[PACKAGE + method]
        sent = [ParseDict(dict(fields), known.request()) for fields in messages]
        return self.raw_grpc(
            known.path, [message.SerializeToString() for message in sent], metadata, known.response
        )

    def raw_grpc(
        self,
        path: str,
        messages: Iterable[bytes],
        metadata: Metadata = (),
        response: type[Message] | None = None,
    ) -> Answer:
        call = self._channel.stream_stream(path)(iter(messages), metadata=metadata, timeout=SECONDS)
        try:
            replies = list(islice(call, 1 if "Watch" in path else None))
        except grpc.RpcError:
            return _refusal(call)
        call.cancel()
        reply = response.FromString(replies[0]) if response and replies else None
        return Answer("OK", "", reply)

    def over_rest(
        self, verb: str, path: str, fields: Mapping[str, Any], headers: Metadata = ()
    ) -> Answer:
        given: dict[str, Any]
        given = {"json": dict(fields)} if verb == "POST" else {"params": dict(fields)}
        return self.raw_rest(verb, path, headers=dict(headers), **given)

    def raw_rest(self, verb: str, path: str, **given: Any) -> Answer:
        response = self.http.request(verb, path, **given)
        request_id = response.headers.get("x-request-id", "")
        differing = ("date", "x-bentoml-request-id")
        kept = sorted(item for item in response.headers.items() if item[0] not in differing)
        text = f"{response.status_code} {kept} {response.text}"
        problem = _problem(response)
        return Answer(
            problem.get("code", "OK" if response.is_success else str(response.status_code)),
            text.replace(request_id, "ID") if request_id else text,
            None if problem else response,
        )


def shown(key: Key) -> Metadata:
    """The headers of who shows a key, or none."""
    return () if key is None else (("authorization", f"Bearer {key}"),)


def _refusal(call: Any) -> Answer:
    trailers = {name: value for name, value in call.trailing_metadata() or ()}
    request_id = str(trailers.pop("x-request-id", ""))
    status = status_pb2.Status.FromString(trailers.pop("grpc-status-details-bin", b""))
    text = f"{call.details()} {sorted(trailers)} {MessageToDict(status)}"
    return Answer(call.code().name, text.replace(request_id, "ID") if request_id else text)


def _problem(response: httpx.Response) -> dict[str, Any]:
    if response.headers.get("content-type") != "application/problem+json":
        return {}
    problem: dict[str, Any] = json.loads(response.text)
    return problem
