"""The two transports behind one face, so that one test holds for both.

A request is the proto's message either way; over REST it becomes the JSON body, path and query that
the proto's HTTP annotation names. A refused request raises `Refused`, whatever it came by.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import numpy as np
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from numpy.typing import NDArray

from service.transport.methods import OF_THE_SERVER, Method, methods_of
from tests.openapi import assert_fits
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2, prediction_pb2

METHODS = {method.name: method for method in methods_of(*OF_THE_SERVER)}
SECONDS = 60.0
DECISIONS = {prediction_pb2.DECISION_ACCEPT: "accept", prediction_pb2.DECISION_REVIEW: "review"}
DESCRIBED_BYTES = 200_000
"""Replies up to this size are compared with the OpenAPI document; large ones take long."""


class Refused(Exception):
    """What a client learns about a request that failed as a whole."""

    def __init__(
        self,
        code: str,
        message: str,
        details: dict[str, str],
        request_id: str,
        retry_after: float | None,
        text: str,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.field = details.get("field", "")
        self.limit = details.get("limit", "")
        self.value = details.get("value", "")
        self.request_id = request_id
        self.retry_after = retry_after
        self.text = text


@dataclass(frozen=True)
class Row:
    """One row of a prediction or embedding."""

    digest: str
    head: str = ""
    version: int = 0
    label: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    vector: NDArray[np.float32] | None = None
    neighbours: list[str] = field(default_factory=list)
    error: common_pb2.RowError | None = None
    decision: str = ""


@dataclass(frozen=True)
class Rows:
    """The rows of one reply, its request id, and all that was sent, as text."""

    rows: list[Row]
    request_id: str
    text: str
    backbone: str = ""
    fingerprint: str = ""


class Transport(ABC):
    """A way to the server."""

    name: str

    @abstractmethod
    def close(self) -> None:
        """Closes the connection."""

    @abstractmethod
    def call(self, method: str, request: Message, timeout: float = SECONDS) -> Any:
        """One RPC; of a stream of replies, the last."""

    @abstractmethod
    def predict(
        self, head: str, inputs: Iterable[common_pb2.Input], timeout: float = SECONDS, **more: Any
    ) -> Rows:
        """Predict, row by row."""

    @abstractmethod
    def embed(self, tenant: str, inputs: Iterable[common_pb2.Input], backbone: str = "") -> Rows:
        """Embed, row by row."""

    @abstractmethod
    def add(
        self, head: str, examples: Iterable[tuple[common_pb2.Input, str | None]]
    ) -> heads_pb2.AddExamplesResponse:
        """AddExamples in one message."""


class Grpc(Transport):
    """Stubs made of the method's path alone."""

    name = "grpc"

    def __init__(self, address: str, token: str = "") -> None:
        self._metadata = [("authorization", f"Bearer {token}")] if token else []
        # Its types cannot tell of stubs that send bytes as they are.
        self.channel: Any = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
            ],
        )

    def close(self) -> None:
        self.channel.close()

    def call(self, method: str, request: Message, timeout: float = SECONDS) -> Any:
        return self.exchange(METHODS[method], [request.SerializeToString()], timeout)[0]

    def send(self, method: str, request: Message, timeout: float = SECONDS) -> Any:
        """Sends a request without waiting for its reply: gives a `grpc.Future`."""
        known = METHODS[method]
        stub: Any = self.channel.unary_unary(known.path, None, known.response.FromString)
        return stub.future(request.SerializeToString(), timeout=timeout, metadata=self._metadata)

    def exchange(
        self, method: Method, messages: Sequence[bytes], timeout: float = SECONDS
    ) -> tuple[Any, str]:
        """Sends bytes as they are; gives the last reply and the request's id."""
        read = method.response.FromString
        more = {"timeout": timeout, "metadata": self._metadata}
        try:
            if method.client_streaming:
                sent = self.channel.stream_unary(method.path, None, read)
                reply, call = sent.with_call(iter(messages), **more)
            elif method.server_streaming:
                call = self.channel.unary_stream(method.path, None, read)(messages[0], **more)
                reply = list(call)[-1]
            else:
                sent = self.channel.unary_unary(method.path, None, read)
                reply, call = sent.with_call(messages[0], **more)
        except grpc.RpcError as error:
            raise refusal(error) from error
        return reply, dict(call.trailing_metadata())["x-request-id"]

    def predict(
        self, head: str, inputs: Iterable[common_pb2.Input], timeout: float = SECONDS, **more: Any
    ) -> Rows:
        request = prediction_pb2.PredictRequest(head=head, inputs=inputs, **more)
        reply, request_id = self.exchange(
            METHODS["Predict"], [request.SerializeToString()], timeout
        )
        rows = [Row(digest) for digest in reply.digests]
        for group in reply.predictions:
            indices = np.frombuffer(group.indices.data, "<u4").reshape(group.indices.shape)
            values = np.frombuffer(group.probabilities.data, "<f4").reshape(
                group.probabilities.shape
            )
            decided = [DECISIONS[number] for number in group.decisions] or [""] * len(group.rows)
            columns = zip(group.rows, indices, values, decided, strict=True)
            for row, order, probabilities, decision in columns:
                labels = [group.labels[i] for i in order]
                scores = dict(zip(labels, map(float, probabilities), strict=True))
                rows[row] = Row(
                    reply.digests[row],
                    group.head,
                    group.version,
                    labels[0],
                    scores,
                    decision=decision,
                )
            for row, near in zip(group.rows, group.neighbours, strict=False):
                rows[row].neighbours.extend(one.digest for one in near.neighbours)
        for error in reply.errors:
            rows[error.row] = Row(reply.digests[error.row], error=error)
        return Rows(rows, request_id, str(reply))

    def embed(self, tenant: str, inputs: Iterable[common_pb2.Input], backbone: str = "") -> Rows:
        request = extraction_pb2.EmbedRequest(
            tenant=f"tenants/{tenant}", backbone=backbone, inputs=inputs
        )
        reply, request_id = self.exchange(METHODS["Embed"], [request.SerializeToString()])
        matrix = np.frombuffer(reply.embeddings.data, "<f4").reshape(reply.embeddings.shape)
        rows = [Row(digest, vector=v) for digest, v in zip(reply.digests, matrix, strict=True)]
        for error in reply.errors:
            rows[error.row] = Row(reply.digests[error.row], error=error)
        return Rows(rows, request_id, str(reply.errors), reply.backbone, reply.fingerprint)

    def add(
        self, head: str, examples: Iterable[tuple[common_pb2.Input, str | None]]
    ) -> heads_pb2.AddExamplesResponse:
        reply: heads_pb2.AddExamplesResponse = self.call("AddExamples", _examples(head, examples))
        return reply


class Rest(Transport):
    """JSON over HTTP, as the proto's annotations say."""

    name = "rest"

    def __init__(self, base_url: str, token: str = "") -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=base_url, timeout=SECONDS, headers=headers)

    def close(self) -> None:
        self.http.close()

    def call(self, method: str, request: Message, timeout: float = SECONDS) -> Any:
        known = METHODS[method]
        body = self.send(known, request, timeout).json()
        if method == "GetHeadReport":
            _pack_confusion(body["report"])
        reply = ParseDict(body, known.response())
        if isinstance(reply, heads_pb2.TrainHeadResponse):
            return self._wait_for(reply.training)
        return reply

    def send(self, method: Method, request: Message, timeout: float = SECONDS) -> httpx.Response:
        """Sends a request; gives the reply, or raises what it says."""
        body = MessageToDict(request, preserving_proto_field_name=True)
        assert method.rest is not None
        path = method.rest.path
        if method.rest.field:
            name: str = body.pop(method.rest.field, "")
            path = path.format(**{f"id{i}": part for i, part in enumerate(name.split("/")[1::2])})
        headers = {"X-Request-Timeout": str(timeout)}
        if method.rest.verb in ("GET", "DELETE"):
            response = self.http.request(method.rest.verb, path, params=body, headers=headers)
        else:
            response = self.http.post(path, json=body, headers=headers)
        reply = accepted(response)
        if len(reply.content) < DESCRIBED_BYTES:
            assert_fits(reply.json(), method.response.DESCRIPTOR.name)
        return reply

    def _wait_for(self, training: heads_pb2.Training) -> heads_pb2.TrainHeadResponse:
        running = (heads_pb2.TRAINING_STATE_QUEUED, heads_pb2.TRAINING_STATE_RUNNING)
        while training.state in running:
            request = heads_pb2.GetTrainingRequest(name=training.name)
            training = self.call("GetTraining", request).training
        return heads_pb2.TrainHeadResponse(training=training)

    def predict(
        self, head: str, inputs: Iterable[common_pb2.Input], timeout: float = SECONDS, **more: Any
    ) -> Rows:
        request = prediction_pb2.PredictRequest(head=head, inputs=inputs, **more)
        return prediction_rows(self.send(METHODS["Predict"], request, timeout))

    def embed(self, tenant: str, inputs: Iterable[common_pb2.Input], backbone: str = "") -> Rows:
        request = extraction_pb2.EmbedRequest(
            tenant=f"tenants/{tenant}", backbone=backbone, inputs=inputs
        )
        response = self.send(METHODS["Embed"], request)
        reply = response.json()
        rows = [
            Row(
                row["digest"],
                vector=np.array(row.get("embedding", []), np.float32),
                error=_row_error(row),
            )
            for row in reply["embeddings"]
        ]
        request_id = response.headers["x-request-id"]
        return Rows(rows, request_id, response.text, reply["backbone"], reply["fingerprint"])

    def add(
        self, head: str, examples: Iterable[tuple[common_pb2.Input, str | None]]
    ) -> heads_pb2.AddExamplesResponse:
        reply: heads_pb2.AddExamplesResponse = self.call("AddExamples", _examples(head, examples))
        return reply


def _pack_confusion(report: dict[str, Any]) -> None:
    """Makes tensors of the matrices that a report has as lists of rows."""
    for name in ("evaluation", "test"):
        if name in report:
            matrix = np.array(report[name]["confusion"], "<u4")
            tensor = common_pb2.Tensor(dtype="uint32", shape=matrix.shape, data=matrix.tobytes())
            report[name]["confusion"] = MessageToDict(tensor)


def accepted(response: httpx.Response) -> httpx.Response:
    """The response, unless it is a problem document: then that is raised."""
    if response.is_success:
        return response
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    assert_fits(problem, "Problem")
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert problem["type"] == "about:blank"
    assert problem["request_id"] == response.headers["x-request-id"]
    retry_after = response.headers.get("retry-after")
    raise Refused(
        problem["code"],
        problem["detail"],
        problem,
        problem["request_id"],
        None if retry_after is None else float(retry_after),
        response.text,
    )


def refusal(error: Any) -> Refused:
    """What a failed RPC says, its details included."""
    metadata = dict(error.trailing_metadata() or ())
    status = rpc_status.from_call(error)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    request = error_details_pb2.RequestInfo()
    retry_after: float | None = None
    for detail in () if status is None else status.details:
        if detail.Unpack(retry):
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        for message in (info, request):
            detail.Unpack(message)
    assert request.request_id == metadata.get("x-request-id", "")
    return Refused(
        error.code().name,
        error.details(),
        dict(info.metadata),
        request.request_id,
        retry_after,
        f"{error.details()} {status}",
    )


def prediction_rows(response: httpx.Response) -> Rows:
    """The rows of a prediction over REST."""
    rows = [
        Row(
            row["digest"],
            row.get("head", ""),
            row.get("version", 0),
            row.get("label", ""),
            row.get("scores", {}),
            neighbours=[one["digest"] for one in row.get("neighbours", ())],
            error=_row_error(row),
            decision=row.get("decision", ""),
        )
        for row in response.json()["predictions"]
    ]
    return Rows(rows, response.headers.get("x-request-id", ""), response.text)


def image(data: bytes) -> common_pb2.Input:
    return common_pb2.Input(image=data)


def text(words: str) -> common_pb2.Input:
    return common_pb2.Input(text=words)


def embedding(fingerprint: str, vector: NDArray[np.float32]) -> common_pb2.Input:
    tensor = common_pb2.Tensor(
        dtype="float32", shape=vector.shape, data=vector.astype("<f4").tobytes()
    )
    return common_pb2.Input(embedding=common_pb2.Embedding(fingerprint=fingerprint, vector=tensor))


def json_body(message: Message) -> str:
    """A message as a REST client writes it."""
    return json.dumps(MessageToDict(message, preserving_proto_field_name=True))


def _examples(
    head: str, examples: Iterable[tuple[common_pb2.Input, str | None]]
) -> heads_pb2.AddExamplesRequest:
    rows = [heads_pb2.NewExample(input=item, label=label) for item, label in examples]
    return heads_pb2.AddExamplesRequest(head=head, examples=rows)


def _row_error(row: dict[str, Any]) -> common_pb2.RowError | None:
    return ParseDict(row["error"], common_pb2.RowError()) if "error" in row else None
