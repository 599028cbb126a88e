"""JSON and multipart bodies, converted to and from the messages of the proto files.

Replies are the proto's JSON form with snake_case names. Predictions and embeddings look different,
rows instead of packed columns, and so do the confusion matrices of a report: lists of rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from starlette.datastructures import UploadFile

from service.errors import InvalidRequest
from service.requests.fields import NO_CHARACTER
from service.requests.tensors import from_tensor
from service.transport.proto_json import bind, read_message, read_strings
from trunkline.v1 import advice_pb2, common_pb2, extraction_pb2, heads_pb2, prediction_pb2

Json = dict[str, Any]

_ANY_BYTES = ("utf-8", "surrogateescape")
COLUMNS: Mapping[type[Message], Sequence[str]] = {
    prediction_pb2.PredictRequest: (),
    extraction_pb2.EmbedRequest: (),
    heads_pb2.AddExamplesRequest: ("label", "group", "external_id"),
    advice_pb2.AdviseRequest: ("label", "group"),
    prediction_pb2.SendFeedbackRequest: ("label", "id"),
}
"""Parts of a form that belong to its rows in order, of the requests whose rows a form can carry."""

LINES = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
"""What JSON lines are called."""
ROWS = {"Predict": "predictions", "Embed": "embeddings"}
"""RPCs whose rows may come as an image or as JSON lines, and what their replies call them."""

_HALF = re.compile("[\ud800-\udfff]")


async def read_form(
    request_class: type[Message],
    parts: Iterable[tuple[str, UploadFile | str]],
    bound: Mapping[str, Any],
) -> Message:
    """Reads multipart parts as a message.

    Parts called ``image`` are files, ``text`` are strings or files; each is one row, in order.
    Parts called as a field of a row (``label``, ``group``, ``external_id``, ``id``) belong to the
    rows in order. All others set fields of the request. Bytes of a string that are no UTF-8 are in
    it as surrogates.

    Raises:
        InvalidRequest: the parts do not make such a request.
    """
    inputs: list[common_pb2.Input] = []
    columns: dict[str, list[str]] = {name: [] for name in COLUMNS.get(request_class, ())}
    fields: list[tuple[str, str]] = []
    for name, value in parts:
        if name in ("image", "text"):
            inputs.append(await _form_input(name, value))
        elif isinstance(value, UploadFile):
            raise InvalidRequest(
                f"{name[:100]}: must not be a file; files are called image or text",
                field=name,
                limit="image or text",
                value="file",
            )
        elif name in columns:
            columns[name].append(_HALF.sub(NO_CHARACTER, value))
        else:
            fields.append((name, value))
    data = bind(request_class, read_strings(request_class, fields), bound)
    request = read_message(request_class, data)
    _fill_rows(request, inputs, columns)
    return request


def write_json(reply: Message) -> Json:
    """Converts a reply to JSON as a REST client gets it."""
    if isinstance(reply, prediction_pb2.PredictResponse):
        return {"predictions": _rows(reply, reply.predictions), "timing": _to_dict(reply.timing)}
    if isinstance(reply, prediction_pb2.ClassifyResponse):
        return _write_classified(reply)
    if isinstance(reply, extraction_pb2.EmbedResponse):
        return _write_embeddings(reply)
    if isinstance(reply, heads_pb2.GetHeadReportResponse):
        return _write_report(reply)
    return _to_dict(reply)


async def _form_input(name: str, value: UploadFile | str) -> common_pb2.Input:
    data = value.encode(*_ANY_BYTES) if isinstance(value, str) else await value.read()
    if name == "image":
        return common_pb2.Input(image=data)
    return common_pb2.Input(text_utf8=data)


def _fill_rows(
    request: Message, inputs: list[common_pb2.Input], columns: dict[str, list[str]]
) -> None:
    if inputs and type(request) not in COLUMNS:
        raise InvalidRequest(
            f"body: {request.DESCRIPTOR.name} takes no files", field="body", value="multipart"
        )
    for name, column in columns.items():
        if len(column) not in (0, len(inputs)):
            raise InvalidRequest.at(
                name, "needs one per input ({limit}), has {value}", len(inputs), len(column)
            )
    for index, item in enumerate(inputs):
        said = {name: column[index] for name, column in columns.items() if column}
        if isinstance(request, (prediction_pb2.PredictRequest, extraction_pb2.EmbedRequest)):
            request.inputs.append(item)
        elif isinstance(request, prediction_pb2.SendFeedbackRequest):
            request.feedback.add(input=item, **said)
        elif isinstance(request, (heads_pb2.AddExamplesRequest, advice_pb2.AdviseRequest)):
            request.examples.add(input=item, **said)


def _rows(
    reply: prediction_pb2.PredictResponse | prediction_pb2.ClassifyResponse,
    groups: Iterable[prediction_pb2.HeadPredictions],
) -> list[Json]:
    rows: list[Json] = [{"row": row, "digest": digest} for row, digest in enumerate(reply.digests)]
    for error in reply.errors:
        rows[error.row]["error"] = _to_dict(error)
    for group in groups:
        for row, written in zip(group.rows, _prediction_rows(group), strict=True):
            rows[row] |= written
    for row in reply.truncated:
        rows[row]["truncated"] = True
    return rows


def _write_classified(reply: prediction_pb2.ClassifyResponse) -> Json:
    """Converts answers by examples in the request: rows as of a head, which has no name here."""
    return {
        "predictions": _rows(reply, [reply.predictions]),
        "backbone": reply.backbone,
        "family": reply.family,
        **({"estimate": _to_dict(reply.estimate)} if reply.HasField("estimate") else {}),
        "example_errors": [_to_dict(error) for error in reply.example_errors],
        "truncated_examples": list(reply.truncated_examples),
        "timing": _to_dict(reply.timing),
    }


def _prediction_rows(group: prediction_pb2.HeadPredictions) -> Iterator[Json]:
    """Yields one object per row, in the order of `group.rows`; an abstention has no label."""
    indices = _listed(group.indices)
    sets = _prediction_sets(group)
    novelty = _listed(group.novelty) if group.HasField("novelty") else None
    for i, probabilities in enumerate(_listed(group.probabilities)):
        written: Json = {}
        if group.head:
            written = {"head": group.head, "version": group.version, "live": group.live}
        if group.described:
            written["described"] = True
        if sets is not None:
            written["set"] = sets[i]
        if novelty is not None:
            written |= {"novelty": novelty[i], "novel": group.novel[i]}
        if group.neighbours:
            written["neighbours"] = _to_dict(group.neighbours[i])["neighbours"]
        if group.decisions:
            written["decision"] = DECISIONS[group.decisions[i]]
        if group.abstains and group.novel[i]:
            yield written | {"abstained": True}
            continue
        labels = [group.labels[index] for index in indices[i]]
        written |= {"label": labels[0], "probability": probabilities[0]}
        yield written | {"scores": dict(zip(labels, probabilities, strict=True))}


DECISIONS = {
    prediction_pb2.DECISION_ACCEPT: "accept",
    prediction_pb2.DECISION_REVIEW: "review",
}


def _prediction_sets(group: prediction_pb2.HeadPredictions) -> list[list[str]] | None:
    if not group.HasField("set_sizes"):
        return None
    flat = iter(_listed(group.set_indices))
    return [
        [group.labels[index] for index in islice(flat, size)] for size in _listed(group.set_sizes)
    ]


def _write_report(reply: heads_pb2.GetHeadReportResponse) -> Json:
    """Converts a report, its confusion matrices to lists of rows."""
    written = _to_dict(reply)
    for name in ("evaluation", "test"):
        if reply.report.HasField(name):
            written["report"][name]["confusion"] = _listed(getattr(reply.report, name).confusion)
    return written


def _write_embeddings(reply: extraction_pb2.EmbedResponse) -> Json:
    vectors = _listed(reply.embeddings)
    failed = {error.row: _to_dict(error) for error in reply.errors}
    rows: list[Json] = []
    for row, (digest, vector) in enumerate(zip(reply.digests, vectors, strict=True)):
        outcome = {"error": failed[row]} if row in failed else {"embedding": vector}
        rows.append({"row": row, "digest": digest, **outcome})
    for row in reply.truncated:
        rows[row]["truncated"] = True
    return {
        "backbone": reply.backbone,
        "fingerprint": reply.fingerprint,
        "embeddings": rows,
        "timing": _to_dict(reply.timing),
    }


def _listed(tensor: common_pb2.Tensor) -> list[Any]:
    """Returns the numbers of a tensor of ours, in lists as deep as its shape."""
    listed: list[Any] = from_tensor(tensor, field="reply", dtypes=("uint32", "float32")).tolist()
    return listed


def _to_dict(message: Message) -> Json:
    converted: Json = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return converted
