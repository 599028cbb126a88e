"""What Label Studio asks below ``/label-studio/TENANT/HEAD``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.errors import InvalidRequest, RequestCancelled, ServiceError, problem_of
from service.logs import get_logger
from service.requests.call import Call
from service.requests.tensors import from_tensor
from service.transport.answering import ask, received, respond
from service.transport.backend import Backend
from service.transport.foreign.paths import LABEL_STUDIO, label_studio_head
from service.transport.json_text import read_object
from service.transport.protocols.label_studio.labelling import Labelling
from service.transport.protocols.label_studio.pictures import Pictures
from trunkline.digest import image_digest, text_digest
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

Json = dict[str, Any]

SAID = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")
TAKEN_BACK = "ANNOTATION_DELETED"
TRAINING = "START_TRAINING"

MAX_TASKS_ERROR = 20
"""Tasks of a request that the log says something of."""

_NO_ID = re.compile("[^A-Za-z0-9]+")

log = get_logger(__name__)


class _Task(NamedTuple):
    """A task's input, or why there is none."""

    id: object
    input: common_pb2.Input | None
    error: ServiceError | None = None


class LabelStudio:
    """Answers as a machine learning backend does: it predicts, and learns from annotations.

    Args:
        pictures: fetches what tasks name by address.
    """

    def __init__(self, backend: Backend, pictures: Pictures) -> None:
        self._backend = backend
        self._pictures = pictures

    def routes(self) -> list[Route]:
        """Returns the routes."""
        asked: Mapping[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
            "health": ("GET", self._health),
            "setup": ("POST", self._setup),
            "predict": ("POST", self._predict),
            "webhook": ("POST", self._webhook),
        }
        return [
            Route(f"{LABEL_STUDIO}{{tenant}}/{{head}}/{name}", endpoint, methods=[verb])
            for name, (verb, endpoint) in asked.items()
        ]

    async def _health(self, request: Request) -> Response:
        async def work(call: Call) -> Response:
            head = await self._head(request, call)
            return JSONResponse({"status": "UP", "model_class": _short(head.name)})

        return await respond(self._backend, "GetHead", work, request, _name(request))

    async def _setup(self, request: Request) -> Response:
        async def work(call: Call) -> Response:
            data = await self._body(request, call)
            Labelling.read(data.get("schema"))
            head = await self._head(request, call)
            return JSONResponse({"model_version": _version(head.name, head.active_version)})

        return await respond(self._backend, "GetHead", work, request, _name(request))

    async def _predict(self, request: Request) -> Response:
        async def work(call: Call) -> Response:
            data = await self._body(request, call)
            labelling = Labelling.read(data.get("label_config"))
            given = data.get("tasks")
            if not isinstance(given, list):
                raise InvalidRequest.at("tasks", "must be {limit}", "an array")
            async with self._pictures.client() as client:
                tasks = await asyncio.gather(
                    *(self._read(task, labelling, client) for task in given)
                )
            return JSONResponse({"results": await self._results(tasks, labelling, request, call)})

        return await respond(self._backend, "Predict", work, request, _name(request))

    async def _results(
        self, tasks: list[_Task], labelling: Labelling, request: Request, call: Call
    ) -> list[Json]:
        """Returns a result for each task, in order; empty for one that has no answer."""
        rows = [row for row, task in enumerate(tasks) if task.input is not None]
        failed = {row: task.error for row, task in enumerate(tasks) if task.error is not None}
        results: list[Json] = [{"result": [], "score": 0.0} for _ in tasks]
        if rows:
            message = prediction_pb2.PredictRequest(
                head=_name(request),
                inputs=[input_ for task in tasks if (input_ := task.input) is not None],
                top_k=1,
            )
            reply: Any = await ask(self._backend, "Predict", message, request, call)
            for error in reply.errors:
                failed[rows[error.row]] = InvalidRequest(error.message, field=error.field)
            for row, label, score, version in _answers(reply):
                results[rows[row]] = _result(
                    labelling, label, score, _version(message.head, version)
                )
        for row, why in list(failed.items())[:MAX_TASKS_ERROR]:
            log.warning(
                "Label Studio's task is not answered",
                request_id=call.request_id,
                head=_name(request),
                task=str(tasks[row].id)[:100],
                reason=problem_of(why).message,
                failed=len(failed),
            )
        return results

    async def _webhook(self, request: Request) -> Response:
        """Takes an event; what is none of ours is answered as if it were."""
        try:
            body = await request.body()
        except ClientDisconnect as error:
            raise RequestCancelled("the client left while it sent its request") from error
        action = _action(body, self._backend.max_parts)
        rpc = {TRAINING: "TrainHead", TAKEN_BACK: "DeleteExamples"}.get(action, "SendFeedback")

        async def work(call: Call) -> Response:
            data = read_object(body, self._backend.max_parts)
            if action == TRAINING:
                message = heads_pb2.TrainHeadRequest(head=_name(request))
                await ask(self._backend, rpc, message, request, call)
            elif action in (*SAID, TAKEN_BACK):
                await self._learn(data, action, request, call)
            else:
                return JSONResponse({"detail": "Unknown event"})
            return JSONResponse({}, HTTPStatus.CREATED)

        return await respond(self._backend, rpc, work, request, _name(request))

    async def _learn(self, data: Json, action: str, request: Request, call: Call) -> None:
        labelling = Labelling.read(_object(data, "project").get("label_config"))
        annotation = _object(data, "annotation")
        label = labelling.chosen(annotation)
        async with self._pictures.client() as client:
            task = await self._read(data.get("task"), labelling, client)
        if task.error is not None:
            raise task.error
        assert task.input is not None
        if action == TAKEN_BACK:
            await self._take_back(task.input, request, call)
        elif label:
            feedback = prediction_pb2.Feedback(
                id=_feedback_id(annotation), input=task.input, label=label
            )
            message = prediction_pb2.SendFeedbackRequest(head=_name(request), feedback=[feedback])
            reply: Any = await ask(self._backend, "SendFeedback", message, request, call)
            for error in reply.errors:
                raise InvalidRequest(
                    f"annotation: {error.message}", field=error.field, limit=error.limit
                )

    async def _take_back(self, input_: common_pb2.Input, request: Request, call: Call) -> None:
        """Deletes the example of an annotation, unless somebody has uploaded it as well."""
        digest = _digest(input_)
        wanted = heads_pb2.ListExamplesRequest(head=_name(request), digests=[digest])
        found: Any = await ask(self._backend, "ListExamples", wanted, request, call)
        if any(example.source == "feedback" for example in found.examples):
            message = heads_pb2.DeleteExamplesRequest(head=_name(request), digests=[digest])
            await ask(self._backend, "DeleteExamples", message, request, call)

    async def _read(self, task: Any, labelling: Labelling, client: httpx.AsyncClient) -> _Task:
        number = task.get("id") if isinstance(task, dict) else None
        try:
            return _Task(number, await self._input(task, labelling, client))
        except ServiceError as error:
            return _Task(number, None, error)

    async def _input(
        self, task: Any, labelling: Labelling, client: httpx.AsyncClient
    ) -> common_pb2.Input:
        data = task.get("data") if isinstance(task, dict) else None
        value = data.get(labelling.field) if isinstance(data, dict) else None
        if not isinstance(value, str):
            raise InvalidRequest.at(
                "task.data", "must have what the configuration shows, {limit}", labelling.field
            )
        if labelling.kind == "image":
            return common_pb2.Input(image=await self._pictures.read(value, client))
        return common_pb2.Input(text_utf8=value.encode("utf-8", "surrogatepass"))

    async def _body(self, request: Request, call: Call) -> Json:
        body = await received(self._backend, request.body, request, call)
        return read_object(body, self._backend.max_parts)

    async def _head(self, request: Request, call: Call) -> heads_pb2.Head:
        message = heads_pb2.GetHeadRequest(name=_name(request))
        reply: Any = await ask(self._backend, "GetHead", message, request, call)
        found: heads_pb2.Head = reply.head
        return found


def _name(request: Request) -> str:
    return label_studio_head(request.scope["path"])


def _short(name: str) -> str:
    return name.removeprefix("tenants/").replace("/heads/", "/")


def _version(head: str, version: int) -> str:
    return f"{_short(head)}/{version}"


def _action(body: bytes, max_parts: int) -> str:
    """Returns what an event says that has happened; "" for what is no event."""
    try:
        action = read_object(body, max_parts).get("action")
    except InvalidRequest:  # said again where errors are answered
        return ""
    return action if isinstance(action, str) else ""


def _object(data: Json, name: str) -> Json:
    found = data.get(name)
    if not isinstance(found, dict):
        raise InvalidRequest.at(name, "must be {limit}", "an object")
    return found


def _feedback_id(annotation: Json) -> str:
    """Returns the id of what an annotation says now: sent twice it counts once, changed anew."""
    changed = annotation.get("updated_at") or annotation.get("created_at") or ""
    return _NO_ID.sub("-", f"label-studio-{annotation.get('id')}-{changed}")[:64].strip("-")


def _digest(input_: common_pb2.Input) -> str:
    return image_digest(input_.image) if input_.image else text_digest(input_.text_utf8)


def _answers(reply: prediction_pb2.PredictResponse) -> list[tuple[int, str, float, int]]:
    """Returns row, class, probability and version of each row that has an answer."""
    (group,) = reply.predictions
    indices = from_tensor(group.indices, field="reply", dtypes=("uint32",)).tolist()
    scores = from_tensor(group.probabilities, field="reply", dtypes=("float32",)).tolist()
    return [
        (row, group.labels[indices[place][0]], scores[place][0], group.version)
        for place, row in enumerate(group.rows)
        if not (group.abstains and group.novel[place])
    ]


def _result(labelling: Labelling, label: str, score: float, version: str) -> Json:
    if label not in labelling.choices:
        return {"result": [], "score": 0.0, "model_version": version}
    chosen = {
        "from_name": labelling.from_name,
        "to_name": labelling.to_name,
        "type": "choices",
        "value": {"choices": [label]},
        "score": score,
    }
    return {"result": [chosen], "score": score, "model_version": version}
