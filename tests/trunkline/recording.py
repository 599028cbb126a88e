"""A small real server that records what it is asked and answers from memory.

The client is under test, not the service: heads "train" by remembering labels, and the embedding of
an input is its digest's first four bytes.
"""

import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from trunkline import digest
from trunkline.v1 import (
    common_pb2,
    extraction_pb2,
    extraction_pb2_grpc,
    heads_pb2,
    heads_pb2_grpc,
    prediction_pb2,
    prediction_pb2_grpc,
)

FINGERPRINT = "ab" * 32
Hook = Callable[[Any, grpc.ServicerContext], object]


def refuse(
    context: grpc.ServicerContext,
    code: str,
    message: str,
    *,
    field: str = "",
    limit: str = "",
    value: str = "",
    retry_seconds: float | None = None,
) -> None:
    """Ends the call as the real server does: with google.rpc details and a request id."""
    details = [
        error_details_pb2.ErrorInfo(
            reason="TESTED",
            domain="trunkline",
            metadata={"field": field, "limit": limit, "value": value},
        ),
        error_details_pb2.RequestInfo(request_id="req-1"),
    ]
    if retry_seconds is not None:
        delay = duration_pb2.Duration(nanos=int(retry_seconds * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message, details=packed)
    context.abort_with_status(rpc_status.to_status(status))


def digest_of(item: common_pb2.Input) -> str:
    match item.WhichOneof("kind"):
        case "image":
            return digest.image_digest(item.image)
        case "text":
            return digest.text_digest(item.text)
        case "text_utf8":
            return digest.text_digest(item.text_utf8)
        case "pixels":
            return digest.pixels_digest(item.pixels.shape, item.pixels.data)
        case "embedding":
            return digest.embedding_digest(item.embedding.fingerprint, item.embedding.vector.data)
    return item.digest


class Recorder(
    extraction_pb2_grpc.ExtractionServiceServicer,
    heads_pb2_grpc.HeadServiceServicer,
    prediction_pb2_grpc.PredictionServiceServicer,
):
    """Keeps heads, examples and feedback in dictionaries; `hooks` run before a method answers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, str]] = []
        self.hooks: dict[str, list[Hook]] = {}
        self.heads: dict[str, heads_pb2.Head] = {}
        self.examples: dict[str, dict[str, str | None]] = {}
        self.versions: dict[str, list[heads_pb2.HeadVersion]] = {}
        self.feedback_ids: set[str] = set()
        self.bad_digests: set[str] = set()
        self.page = 2
        self.training_error: tuple[str, str] | None = None

    def asked(self, method: str) -> list[Any]:
        return [request for name, request in self.requests if name == method]

    def _record(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append((method, request))
        self.metadata.append({str(key): str(value) for key, value in context.invocation_metadata()})
        if self.hooks.get(method):
            self.hooks[method].pop(0)(request, context)

    def _head(self, name: str, context: grpc.ServicerContext) -> heads_pb2.Head:
        if name not in self.heads:
            refuse(context, "NOT_FOUND", f"no head {name}", field="head", value=name)
        return self.heads[name]

    def _error(self, row: int, message: str, code: str = "INVALID_ARGUMENT") -> Any:
        return common_pb2.RowError(row=row, code=code, message=message, field="input")

    def ListBackbones(self, request: Any, context: Any) -> Any:
        self._record("ListBackbones", request, context)
        rows = [("efficientnet/lite0", "image"), ("minilm/l6-v2", "text")]
        return extraction_pb2.ListBackbonesResponse(
            backbones=[
                extraction_pb2.Backbone(
                    name=name, modality=modality, dim=1, fingerprint=FINGERPRINT, ready=True
                )
                for name, modality in rows
            ]
        )

    def Embed(self, request: Any, context: Any) -> Any:
        self._record("Embed", request, context)
        digests = [digest_of(item) for item in request.inputs]
        data = b"".join(struct.pack("<f", int(item[:4], 16)) for item in digests)
        return extraction_pb2.EmbedResponse(
            backbone=request.backbone or "minilm/l6-v2",
            fingerprint=FINGERPRINT,
            embeddings=common_pb2.Tensor(dtype="float32", shape=[len(digests), 1], data=data),
            digests=digests,
            errors=[
                self._error(row, "bad") for row, d in enumerate(digests) if d in self.bad_digests
            ],
        )

    def CreateHead(self, request: Any, context: Any) -> Any:
        self._record("CreateHead", request, context)
        name = f"{request.parent}/heads/{request.head_id}"
        if name in self.heads:
            refuse(context, "ALREADY_EXISTS", f"{name} exists", field="head_id")
        self.heads[name] = heads_pb2.Head(
            name=name,
            uid="u1",
            backbone=request.backbone,
            fingerprint=FINGERPRINT,
            spec=request.spec,
            keep_inputs=request.keep_inputs,
        )
        self.examples[name] = {}
        return heads_pb2.CreateHeadResponse(head=self.heads[name])

    def GetHead(self, request: Any, context: Any) -> Any:
        self._record("GetHead", request, context)
        return heads_pb2.GetHeadResponse(head=self._head(request.name, context))

    def ListHeads(self, request: Any, context: Any) -> Any:
        self._record("ListHeads", request, context)
        names = sorted(n for n in self.heads if n.startswith(request.parent + "/"))
        part, token = self._part(names, request.page_token)
        heads = [self.heads[name] for name in part]
        return heads_pb2.ListHeadsResponse(heads=heads, next_page_token=token)

    def _part(self, rows: list[Any], token: str) -> tuple[list[Any], str]:
        start = int(token or 0)
        end = start + self.page
        return rows[start:end], str(end) if end < len(rows) else ""

    def DeleteHead(self, request: Any, context: Any) -> Any:
        self._record("DeleteHead", request, context)
        self._head(request.name, context)
        del self.heads[request.name]
        return heads_pb2.DeleteHeadResponse()

    def FindMissingInputs(self, request: Any, context: Any) -> Any:
        self._record("FindMissingInputs", request, context)
        known = self.examples[self._head(request.head, context).name]
        missing = [item for item in request.digests if item not in known]
        return heads_pb2.FindMissingInputsResponse(missing=missing)

    def AddExamples(self, request_iterator: Any, context: Any) -> Any:
        reply = heads_pb2.AddExamplesResponse()
        row = 0
        for request in request_iterator:
            self._record("AddExamples", request, context)
            known = self.examples[self._head(request.head, context).name]
            before = set(known)
            for example in request.examples:
                self._add(example, known, before, row, reply)
                row += 1
        return reply

    def _add(
        self,
        example: heads_pb2.NewExample,
        known: dict[str, str | None],
        before: set[str],
        row: int,
        reply: heads_pb2.AddExamplesResponse,
    ) -> None:
        name = digest_of(example.input)
        label = example.label if example.HasField("label") else None
        if example.input.WhichOneof("kind") == "digest" and name not in before:
            reply.errors.append(self._error(row, "unknown digest", "NOT_FOUND"))
            reply.failed += 1
        elif name in self.bad_digests:
            reply.errors.append(self._error(row, "cannot be decoded"))
            reply.failed += 1
        else:
            reply.added += name not in known
            reply.updated += name in known and known[name] != label
            reply.unchanged += name in known and known[name] == label
            known[name] = label

    def ListExamples(self, request: Any, context: Any) -> Any:
        self._record("ListExamples", request, context)
        rows = [
            heads_pb2.Example(digest=name, label=label, kind="text", source="upload")
            for name, label in self.examples[request.head].items()
            if not request.HasField("label") or label == request.label
        ]
        part, token = self._part(rows, request.page_token)
        return heads_pb2.ListExamplesResponse(examples=part, next_page_token=token)

    def UpdateExamples(self, request: Any, context: Any) -> Any:
        self._record("UpdateExamples", request, context)
        known = self.examples[request.head]
        reply = heads_pb2.UpdateExamplesResponse()
        for row, update in enumerate(request.updates):
            if update.digest in known:
                known[update.digest] = update.label if update.HasField("label") else None
                reply.updated += 1
            else:
                reply.errors.append(self._error(row, "unknown", "NOT_FOUND"))
        return reply

    def DeleteExamples(self, request: Any, context: Any) -> Any:
        self._record("DeleteExamples", request, context)
        known = self.examples[request.head]
        reply = heads_pb2.DeleteExamplesResponse()
        for row, name in enumerate(request.digests):
            if name in known:
                del known[name]
                reply.deleted += 1
            else:
                reply.errors.append(self._error(row, "unknown", "NOT_FOUND"))
        return reply

    def TrainHead(self, request: Any, context: Any) -> Iterator[Any]:
        self._record("TrainHead", request, context)
        head = self._head(request.head, context)
        training = heads_pb2.Training(name=f"{head.name}/trainings/t1")
        for state, progress in (("QUEUED", 0.0), ("RUNNING", 0.5)):
            training.state = heads_pb2.TrainingState.Value(f"TRAINING_STATE_{state}")
            training.progress = progress
            yield heads_pb2.TrainHeadResponse(training=training)
            self._record(f"TrainHead.{state}", request, context)
        if self.training_error:
            training.state = heads_pb2.TRAINING_STATE_FAILED
            training.error_code, training.error_message = self.training_error
            yield heads_pb2.TrainHeadResponse(training=training)
            return
        labels = sorted({label for label in self.examples[head.name].values() if label})
        self._new_version(head, labels, "training", request.activate, request.spec)
        training.state = heads_pb2.TRAINING_STATE_SUCCEEDED
        training.version = len(self.versions[head.name])
        yield heads_pb2.TrainHeadResponse(training=training)

    def _new_version(
        self, head: Any, labels: list[str], source: str, activate: bool, spec: Any
    ) -> heads_pb2.HeadVersion:
        versions = self.versions.setdefault(head.name, [])
        number = len(versions) + 1
        version = heads_pb2.HeadVersion(
            name=f"{head.name}/versions/{number}",
            version=number,
            source=source,
            family=spec.family or "ridge",
            spec=spec,
            labels=labels,
        )
        versions.append(version)
        if activate:
            head.active_version = number
            head.labels[:] = labels
        return version

    def GetTraining(self, request: Any, context: Any) -> Any:
        self._record("GetTraining", request, context)
        training = heads_pb2.Training(
            name=request.name, state=heads_pb2.TRAINING_STATE_RUNNING, progress=0.5
        )
        return heads_pb2.GetTrainingResponse(training=training)

    def CancelTraining(self, request: Any, context: Any) -> Any:
        self._record("CancelTraining", request, context)
        training = heads_pb2.Training(name=request.name, state=heads_pb2.TRAINING_STATE_CANCELLED)
        return heads_pb2.CancelTrainingResponse(training=training)

    def ImportHead(self, request: Any, context: Any) -> Any:
        self._record("ImportHead", request, context)
        name = f"{request.parent}/heads/{request.head_id}"
        head = self.heads.setdefault(name, heads_pb2.Head(name=name, backbone=request.backbone))
        labels = list(request.labels)
        version = self._new_version(
            head, labels, "import", request.activate, heads_pb2.HeadSpec(family="logistic")
        )
        return heads_pb2.ImportHeadResponse(head=head, version=version)

    def ExportHead(self, request: Any, context: Any) -> Any:
        self._record("ExportHead", request, context)
        head = self._head(request.name, context)
        number = request.version or head.active_version
        version = self.versions[head.name][number - 1]
        return heads_pb2.ExportHeadResponse(version=version, safetensors=b"weights")

    def ListHeadVersions(self, request: Any, context: Any) -> Any:
        self._record("ListHeadVersions", request, context)
        part, token = self._part(self.versions.get(request.head, [])[::-1], request.page_token)
        return heads_pb2.ListHeadVersionsResponse(versions=part, next_page_token=token)

    def GetHeadVersion(self, request: Any, context: Any) -> Any:
        self._record("GetHeadVersion", request, context)
        head, _, number = request.name.partition("/versions/")
        return heads_pb2.GetHeadVersionResponse(version=self.versions[head][int(number) - 1])

    def ActivateHeadVersion(self, request: Any, context: Any) -> Any:
        self._record("ActivateHeadVersion", request, context)
        head = self._head(request.name.partition("/versions/")[0], context)
        head.active_version = int(request.name.rpartition("/")[2])
        return heads_pb2.ActivateHeadVersionResponse(head=head)

    def GetHeadReport(self, request: Any, context: Any) -> Any:
        self._record("GetHeadReport", request, context)
        head = self._head(request.name.partition("/versions/")[0], context)
        number = request.name.rpartition("/")[2]
        version = head.active_version if number == "active" else int(number)
        estimate = heads_pb2.Estimate(
            method="leave-one-out",
            accuracy=0.9,
            accuracy_low=0.8,
            accuracy_high=0.95,
            log_loss=0.3,
        )
        report = heads_pb2.HeadReport(
            head=head.name,
            version=version,
            family="ridge",
            example_count=len(self.examples[head.name]),
            classes=[heads_pb2.ClassReport(label="[bold]a", examples=2)],
            estimate=estimate,
            l2=0.5,
            temperature=1.0,
            candidates=[
                heads_pb2.Candidate(family="ridge", l2=0.5, estimate=estimate, chosen=True)
            ],
        )
        return heads_pb2.GetHeadReportResponse(report=report)

    def Predict(self, request: Any, context: Any) -> Any:
        self._record("Predict", request, context)
        head = self._head(request.head, context)
        if not head.active_version:
            refuse(context, "FAILED_PRECONDITION", "no active version", field="head")
        digests = [digest_of(item) for item in request.inputs]
        good = [row for row, name in enumerate(digests) if name not in self.bad_digests]
        count = min(request.top_k or len(head.labels), len(head.labels))
        known = self.examples.get(head.name, {})
        indices, probabilities = [], []
        for row in good:
            label = known.get(digests[row]) or head.labels[0]
            first = list(head.labels).index(label)
            rest = [index for index in range(len(head.labels)) if index != first]
            indices += [first, *rest][:count]
            probabilities += [0.75, *[0.25 / max(1, len(rest))] * len(rest)][:count]
        cells = len(indices)
        group = prediction_pb2.HeadPredictions(
            head=head.name,
            version=request.version or head.active_version,
            labels=head.labels,
            rows=good,
            indices=common_pb2.Tensor(
                dtype="uint32", shape=[len(good), count], data=struct.pack(f"<{cells}I", *indices)
            ),
            probabilities=common_pb2.Tensor(
                dtype="float32",
                shape=[len(good), count],
                data=struct.pack(f"<{cells}f", *probabilities),
            ),
        )
        errors = [
            self._error(row, "cannot be decoded") for row in range(len(digests)) if row not in good
        ]
        return prediction_pb2.PredictResponse(
            predictions=[group] if good else [], digests=digests, errors=errors
        )

    def SendFeedback(self, request: Any, context: Any) -> Any:
        seen = [row.id in self.feedback_ids for row in request.feedback]
        self.feedback_ids |= {row.id for row in request.feedback}
        self._record("SendFeedback", request, context)
        digests = [digest_of(row.input) for row in request.feedback]
        return prediction_pb2.SendFeedbackResponse(
            ids=[row.id for row in request.feedback],
            digests=digests,
            duplicates=seen,
            errors=[
                self._error(row, "cannot be decoded")
                for row, name in enumerate(digests)
                if name in self.bad_digests
            ],
        )


class Server:
    """The recorder behind a port, which can be stopped and started again in the same place."""

    def __init__(self, recorder: Recorder, address: str) -> None:
        self.recorder = recorder
        self.address = address
        self.health = health.HealthServicer()
        self._server: grpc.Server | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        with self._lock:
            server = grpc.server(
                ThreadPoolExecutor(8),
                options=[
                    ("grpc.so_reuseport", 0),
                    ("grpc.max_receive_message_length", 64 * 2**20),
                ],
            )
            heads_pb2_grpc.add_HeadServiceServicer_to_server(self.recorder, server)
            extraction_pb2_grpc.add_ExtractionServiceServicer_to_server(self.recorder, server)
            prediction_pb2_grpc.add_PredictionServiceServicer_to_server(self.recorder, server)
            health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
            self.health.set("", health_pb2.HealthCheckResponse.SERVING)
            port = server.add_insecure_port(self.address)
            if self.address.endswith(":0"):
                self.address = f"127.0.0.1:{port}"
            server.start()
            self._server = server

    def stop(self) -> None:
        with self._lock:
            if self._server:
                self._server.stop(None).wait()
                self._server = None
