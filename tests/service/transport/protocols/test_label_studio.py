"""Label Studio's machine learning backend: recorded forms of its requests, and what is answered."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from service.transport.protocols.label_studio import pictures
from service.transport.protocols.label_studio.pictures import Pictures
from tests.service.transport.protocols.served import NONE, asked, predict
from trunkline.v1 import heads_pb2, prediction_pb2

HEAD = "/label-studio/acme/textile"
IMAGES = "/label-studio/acme/images"
TEXTS = """<View>
  <Text name="words" value="$review"/>
  <Choices name="mood" toName="words" choice="single">
    <Choice value="good"/><Choice value="bad"/><Choice value="Torn" alias="torn"/>
  </Choices>
</View>"""
PHOTOS = TEXTS.replace('Text name="words" value="$review"', 'Image name="words" value="$photo"')
JPEG = b"\xff\xd8\xff\xe0 a picture"
TOKEN = "a-token-of-label-studio"


async def post(path: str, data: Any, source: Pictures = NONE, **handlers: Any) -> Any:
    async with asked(source, **handlers) as client:
        return await client.post(path, json=data)


def tasks(*values: object, field: str = "review") -> list[dict[str, Any]]:
    return [{"id": number, "data": {field: value}} for number, value in enumerate(values, 1)]


async def predicted(config: str, given: Any, path: str = HEAD, **more: Any) -> Any:
    body = {"tasks": given, "label_config": config, "project": "1.1700000000", "params": {}}
    return await post(f"{path}/predict", body, **more)


async def test_setup_and_health_name_the_head_and_its_version() -> None:
    async with asked() as client:
        health = await client.get(f"{HEAD}/health")
    assert health.json() == {"status": "UP", "model_class": "acme/textile"}
    setup = {
        "project": "1.1700000000",
        "schema": TEXTS,
        "hostname": "http://label-studio:8080",
        "access_token": "",
        "extra_params": None,
    }
    assert (await post(f"{HEAD}/setup", setup)).json() == {"model_version": "acme/textile/3"}


async def test_each_task_has_a_result_in_its_place() -> None:
    given = [*tasks("works well", "fail", 7), {"id": 4}, *tasks("broke")]
    answer = await predicted(TEXTS, given)
    results = answer.json()["results"]
    assert [bool(one["result"]) for one in results] == [True, False, False, False, True]
    first = results[0]
    assert (first["model_version"], round(first["score"], 3)) == ("acme/textile/3", 0.6)
    assert first["result"] == [
        {
            "from_name": "mood",
            "to_name": "words",
            "type": "choices",
            "value": {"choices": ["torn"]},
            "score": first["score"],
        }
    ]


async def test_no_tasks_have_no_results() -> None:
    assert (await predicted(TEXTS, [])).json() == {"results": []}
    assert (await predicted(TEXTS, [{}])).json()["results"] == [{"result": [], "score": 0.0}]


async def test_class_that_is_no_choice_is_not_shown() -> None:
    config = TEXTS.replace('alias="torn"', 'alias="ripped"')
    (result,) = (await predicted(config, tasks("works well"))).json()["results"]
    assert result["result"] == []


@pytest.mark.parametrize(
    "config",
    [
        "",
        None,
        "no xml",
        "<View><Text name='t' value='$t'/></View>",
        "<View><Choices name='c' toName='t'><Choice value='a'/></Choices></View>",
        TEXTS.replace("$review", "review"),
        TEXTS.replace("Choices", "Labels"),
        '<!DOCTYPE v [<!ENTITY a "aa">]><View>&a;</View>',
        f"<View>{' ' * 1_000_001}</View>",
    ],
)
async def test_configuration_that_asks_nothing_a_head_can_answer_is_refused(config: Any) -> None:
    for path, data in (("setup", {"schema": config}), ("predict", {"label_config": config})):
        answer = await post(f"{HEAD}/{path}", {**data, "tasks": []})
        assert answer.status_code == 400
        assert answer.json()["field"] == "label_config"


# --- pictures


@contextmanager
def label_studio(body: bytes = JPEG, status: int = 200) -> Iterator[tuple[Pictures, list[Any]]]:
    """A server that notes who asks, and hangs for `/hang` until it is over."""
    seen: list[Any] = []
    over = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers.get("authorization")))
            if self.path == "/hang":
                over.wait(30)
            self.send_response(302 if self.path == "/moved" else status)
            self.send_header("location", "/data/upload/1/photo.jpg")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Pictures(f"http://127.0.0.1:{server.server_port}", TOKEN, 1000), seen
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


async def pictures_of(given: Pictures, *addresses: object) -> list[bool]:
    """Which pictures are answered."""
    asked_for = tasks(*addresses, field="photo")
    answer = await predicted(PHOTOS, asked_for, IMAGES, source=given)
    assert answer.status_code == 200, answer.text
    return [bool(one["result"]) for one in answer.json()["results"]]


async def test_pictures_are_fetched_from_label_studio_with_its_token() -> None:
    with label_studio() as (given, seen):
        own = f"{given.origin}/data/local-files/?d=photos/1.jpg"
        inline = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()
        assert await pictures_of(given, "/data/upload/1/photo.jpg", own, inline) == [True] * 3
    assert sorted(seen) == [
        ("/data/local-files/?d=photos/1.jpg", f"Token {TOKEN}"),
        ("/data/upload/1/photo.jpg", f"Token {TOKEN}"),
    ]


async def test_many_pictures_are_fetched_a_few_at_a_time_and_answered_in_order() -> None:
    with label_studio() as (given, seen):
        addresses = ["/photo.jpg" if number % 3 else "elsewhere" for number in range(30)]
        held: list[int] = []

        async def counted(request: Any, call: Any) -> Any:
            held.append(len(request.inputs))
            return await predict(request, call)

        body = {"tasks": tasks(*addresses, field="photo"), "label_config": PHOTOS}
        answer = await post(f"{IMAGES}/predict", body, given, Predict=counted)
    found = [bool(one["result"]) for one in answer.json()["results"]]
    assert found == [number % 3 > 0 for number in range(30)]
    assert len(seen) == 20
    assert max(held) <= pictures.AT_ONCE


async def test_nothing_is_fetched_from_anywhere_else() -> None:
    with label_studio() as (given, seen), label_studio() as (other, asked_of_other):
        port = given.origin.rpartition(":")[2]
        elsewhere = [
            f"{other.origin}/photo.jpg",
            f"http://127.0.0.1:{port}@{other.origin.removeprefix('http://')}/photo.jpg",
            f"http://localhost:{port}/photo.jpg",
            f"https://127.0.0.1:{port}/photo.jpg",
            f"//{other.origin.removeprefix('http://')}/photo.jpg",
            "http://169.254.169.254/latest/meta-data",
            "file:///etc/passwd",
            "s3://bucket/photo.jpg",
            "\\\\host\\photo.jpg",
            "/\\host/photo.jpg",
            "photo.jpg",
            "http://[::1/photo.jpg",
            "",
        ]
        assert await pictures_of(given, *elsewhere) == [False] * len(elsewhere)
    assert (seen, asked_of_other) == ([], [])


async def test_without_an_address_of_label_studio_nothing_is_fetched() -> None:
    inline = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()
    assert await pictures_of(NONE, "/data/upload/1/photo.jpg", inline) == [False, True]


async def test_no_redirect_is_followed() -> None:
    with label_studio() as (given, seen):
        assert await pictures_of(given, "/moved") == [False]
    assert [path for path, _ in seen] == ["/moved"]


async def test_picture_that_is_too_large_or_missing_costs_itself_alone() -> None:
    inline = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()
    with label_studio(b"x" * 5000) as (given, _):
        assert await pictures_of(given, "/large.jpg", inline) == [False, True]
    with label_studio(status=404) as (given, _):
        assert await pictures_of(given, "/missing.jpg", inline) == [False, True]


async def test_label_studio_that_hangs_or_is_away_costs_its_pictures_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pictures, "FETCH_SECONDS", 0.2)
    inline = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()
    with label_studio() as (given, _):
        assert await pictures_of(given, "/hang", inline) == [False, True]
    assert await pictures_of(given, "/photo.jpg", inline) == [False, True]


# --- events

SAID_BAD = [{"from_name": "mood", "value": {"choices": ["bad"]}}]


class Told:
    """Handlers that note what they are asked."""

    def __init__(self, source: str = "feedback") -> None:
        self.feedback: list[prediction_pb2.Feedback] = []
        self.deleted: list[str] = []
        self.trained: list[str] = []
        self._source = source

    @property
    def handlers(self) -> dict[str, Any]:
        return {
            "SendFeedback": self._send,
            "ListFeedback": self._feedback,
            "ListExamples": self._list,
            "DeleteExamples": self._delete,
            "TrainHead": self._train,
        }

    async def _send(self, request: Any, call: Any) -> Any:
        self.feedback += request.feedback
        reply = prediction_pb2.SendFeedbackResponse()
        if request.feedback[0].label == "unknown":
            reply.errors.add(row=0, code="INVALID_ARGUMENT", message="label: unknown")
        return reply

    async def _feedback(self, request: Any, call: Any) -> Any:
        """Two pages: the log of annotations 5 and 55."""
        number = {"": 55, "next": 5}[request.page_token]
        row = heads_pb2.FeedbackRecord(id=f"label-studio-{number}-then", digest=f"{number:064x}")
        later = "" if request.page_token else "next"
        return heads_pb2.ListFeedbackResponse(feedback=[row], next_page_token=later)

    async def _list(self, request: Any, call: Any) -> Any:
        found = [heads_pb2.Example(digest=one, source=self._source) for one in request.digests]
        return heads_pb2.ListExamplesResponse(examples=found)

    async def _delete(self, request: Any, call: Any) -> Any:
        self.deleted += request.digests
        return heads_pb2.DeleteExamplesResponse(deleted=1)

    async def _train(self, request: Any, call: Any) -> Any:
        self.trained.append(request.head)
        yield heads_pb2.TrainHeadResponse()
        raise AssertionError("nobody waits for the end of a training")


def event(action: str, *choices: str, **annotation: Any) -> dict[str, Any]:
    value = {"choices": list(choices)}
    said = {"from_name": "mood", "to_name": "words", "type": "choices", "value": value}
    return {
        "action": action,
        "project": {"id": 1, "label_config": TEXTS},
        "annotation": {
            "id": 5,
            "updated_at": "2026-01-02T03:04:05.678901Z",
            "result": [{"from_name": "other", "value": {}}, said],
            **annotation,
        },
        "task": {"id": 7, "data": {"review": "broke at once"}},
    }


async def send(told: Told, data: Any) -> httpx.Response:
    answer: httpx.Response = await post(f"{HEAD}/webhook", data, **told.handlers)
    return answer


async def test_annotation_is_feedback_that_counts_once_each_time_it_is_changed() -> None:
    told = Told()
    for action, changed in (
        ("ANNOTATION_CREATED", "2026-01-02T03:04:05.678901Z"),
        ("ANNOTATION_CREATED", "2026-01-02T03:04:05.678901Z"),
        ("ANNOTATION_UPDATED", "2026-01-02T03:05:00.000000Z"),
    ):
        answer = await send(told, event(action, "bad", updated_at=changed))
        assert answer.status_code == 201
    first, again, later = told.feedback
    assert (first.label, first.input.text_utf8) == ("bad", b"broke at once")
    assert first.id == again.id != later.id
    assert first.id == "label-studio-5-2026-01-02T03-04-05-678901Z"


async def test_annotation_without_one_choice_teaches_nothing() -> None:
    told = Told()
    for choices in ((), ("good", "bad")):
        assert (await send(told, event("ANNOTATION_CREATED", *choices))).status_code == 201
    assert told.feedback == []


async def test_deleted_annotation_takes_back_what_nobody_else_has_said() -> None:
    told, uploaded = Told(), Told("upload")
    for one in (told, uploaded):
        gone = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 5}, {"id": 6}]}
        assert (await send(one, gone)).status_code == 201
    assert told.deleted == [f"{5:064x}"]
    assert uploaded.deleted == []
    for wrong in (None, [5]):
        refused = await send(told, {"action": "ANNOTATIONS_DELETED", "annotations": wrong})
        assert (refused.status_code, refused.json()["field"]) == (400, "annotations")


async def test_annotations_that_come_together_are_each_learned_with_their_task() -> None:
    told, one = Told(), event("ANNOTATIONS_CREATED", "bad")["annotation"]
    many = event("ANNOTATIONS_CREATED", "bad") | {
        "annotation": [one | {"id": 5, "task": 7}, one | {"id": 6, "task": 8}],
        "task": [
            {"id": 8, "data": {"review": "hate it"}},
            {"id": 7, "data": {"review": "broke at once"}},
        ],
    }
    assert (await send(told, many)).status_code == 201
    assert [row.input.text_utf8 for row in told.feedback] == [b"broke at once", b"hate it"]
    assert len({row.id for row in told.feedback}) == 2


async def test_training_is_started_and_not_waited_for() -> None:
    told = Told()
    assert (await send(told, {"action": "START_TRAINING", "project": {"id": 1}})).status_code == 201
    assert told.trained == ["tenants/acme/heads/textile"]


async def test_other_events_are_answered_and_change_nothing() -> None:
    told = Told()
    for data in ({"action": "PROJECT_UPDATED"}, {"action": 7}, {}):
        answer = await send(told, data)
        assert (answer.status_code, answer.json()) == (200, {"detail": "Unknown event"})
    assert (told.feedback, told.deleted, told.trained) == ([], [], [])


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"project": 7}, "project"),
        ({"project": {"label_config": "no"}}, "label_config"),
        ({"annotation": None}, "annotation"),
        ({"annotation": {"id": 5, "result": {}}}, "annotation.result"),
        ({"annotation": {"id": "5-1", "result": SAID_BAD}}, "annotation.id"),
        ({"annotation": {"result": SAID_BAD}}, "annotation.id"),
        ({"task": {"data": {}}}, "task.data"),
    ],
)
async def test_event_that_is_not_formed_as_one_is_refused_by_name(
    changed: dict[str, Any], field: str
) -> None:
    told = Told()
    answer = await send(told, event("ANNOTATION_CREATED", "bad") | changed)
    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert told.feedback == []


async def test_class_that_the_head_refuses_is_told() -> None:
    answer = await send(Told(), event("ANNOTATION_CREATED", "unknown"))
    assert answer.status_code == 400
    assert "label: unknown" in answer.json()["detail"]


async def test_body_that_is_no_json_is_refused() -> None:
    async with asked() as client:
        for path in ("webhook", "predict", "setup"):
            answer = await client.post(f"{HEAD}/{path}", content=b"{")
            assert answer.status_code == 400
