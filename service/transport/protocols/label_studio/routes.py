"""What Label Studio asks below ``/label-studio/TENANT/HEAD``."""

from __future__ import annotations

import asyncio
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
from service.transport.protocols.failed_rows import refuse_failed
from service.transport.protocols.label_studio.events import (
    SAID,
    TAKEN_BACK,
    TRAINING,
    action_of,
    deleted_in,
    feedback_id,
    object_in,
    own_part,
    said_of,
)
from service.transport.protocols.label_studio.labelling import Labelling
from service.transport.protocols.label_studio.pictures import AT_ONCE, Pictures
from trunkline.resources import HeadName
from trunkline.rows.chunking import MAX_MESSAGE_ROWS, split
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

Json = dict[str, Any]

PARTS_AT_ONCE = 4
"""Parts of requests, of `AT_ONCE` tasks each, whose pictures are in memory at the same time."""

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
        self._parts = asyncio.Semaphore(PARTS_AT_ONCE)

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
            return JSONResponse({"status": "UP", "model_class": HeadName.parse(head.name).short})

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
            results: list[Json] = []
            async with self._pictures.client() as client:
                # In parts: what is fetched counts as received nowhere, so little may be held.
                most = AT_ONCE if labelling.kind == "image" else MAX_MESSAGE_ROWS
                for part in split(given, max_rows=most):
                    async with self._parts:
                        tasks = await asyncio.gather(
                            *(self._read(task, labelling, client) for task in part)
                        )
                        results += await self._results(tasks, labelling, request, call)
            return JSONResponse({"results": results})

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
        if failed:
            row = min(failed)
            log.warning(
                "Label Studio's tasks are not answered",
                request_id=call.request_id,
                head=_name(request),
                failed=len(failed),
                task=str(tasks[row].id)[:100],
                reason=problem_of(failed[row]).message,
            )
        return results

    async def _webhook(self, request: Request) -> Response:
        """Takes an event; what is none of ours is answered as if it were."""
        try:
            body = await request.body()
        except ClientDisconnect as error:
            raise RequestCancelled("the client left while it sent its request") from error
        action = action_of(body, self._backend.max_parts)
        rpc = {TRAINING: "TrainHead", TAKEN_BACK: "DeleteExamples"}.get(action, "SendFeedback")

        async def work(call: Call) -> Response:
            data = await self._body(request, call)
            if action == TRAINING:
                message = heads_pb2.TrainHeadRequest(head=_name(request))
                await ask(self._backend, rpc, message, request, call)
            elif action == TAKEN_BACK:
                await self._take_back(data, request, call)
            elif action in SAID:
                await self._learn(data, request, call)
            else:
                return JSONResponse({"detail": "Unknown event"})
            return JSONResponse({}, HTTPStatus.CREATED)

        return await respond(self._backend, rpc, work, request, _name(request))

    async def _learn(self, data: Json, request: Request, call: Call) -> None:
        """Takes what annotations say as feedback; those without one choice say nothing."""
        labelling = Labelling.read(object_in(data, "project").get("label_config"))
        feedback = []
        async with self._pictures.client() as client:
            for annotation, given in said_of(data):
                if label := labelling.chosen(annotation):
                    one = prediction_pb2.Feedback(
                        id=feedback_id(annotation),
                        input=await self._input(given, labelling, client),
                        label=label,
                    )
                    feedback.append(one)
        if not feedback:
            return
        message = prediction_pb2.SendFeedbackRequest(head=_name(request), feedback=feedback)
        reply: Any = await ask(self._backend, "SendFeedback", message, request, call)
        refuse_failed(reply.errors, "annotation")

    async def _take_back(self, data: Json, request: Request, call: Call) -> None:
        """Deletes the examples of annotations, unless somebody has uploaded them as well.

        An event says no more than the annotations' ids: what they were about is in the feedback.
        """
        prefixes = tuple(f"{own_part(one)}-" for one in deleted_in(data))
        listing = heads_pb2.ListFeedbackRequest(head=_name(request), page_size=1000)
        digests: dict[str, None] = {}
        while prefixes:
            page: Any = await ask(self._backend, "ListFeedback", listing, request, call)
            found = (row.digest for row in page.feedback if row.id.startswith(prefixes))
            digests |= dict.fromkeys(found)
            listing.page_token = page.next_page_token
            if not listing.page_token:
                break
        if not digests:
            return
        wanted = heads_pb2.ListExamplesRequest(head=_name(request), digests=list(digests))
        known: Any = await ask(self._backend, "ListExamples", wanted, request, call)
        own = [example.digest for example in known.examples if example.source == "feedback"]
        if own:
            message = heads_pb2.DeleteExamplesRequest(head=_name(request), digests=own)
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


def _version(head: str, version: int) -> str:
    return f"{HeadName.parse(head).short}/{version}"


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
