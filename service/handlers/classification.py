"""The RPC ``Classify``: a head for one request, fitted on the examples in it. It stores nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

import adapters
from adapters.progress import ignore_progress
from models import InputLimits
from service.concurrency.tasks import UninterruptedTasks
from service.concurrency.tenant_semaphore import TenantSemaphore
from service.concurrency.time_limit import time_limit
from service.embedding.default_backbone import named_or_default
from service.embedding.resolved import Resolved
from service.embedding.resolver import EmbeddingResolver
from service.errors import InvalidRequest, problem_of
from service.extraction import BackboneInfo, Extractor
from service.fitting.process import FitProcess
from service.fitting.task import FitTask, FittedHead
from service.fitting.trainer import MIN_CLASSES
from service.metrics import Metrics
from service.replies.rows import note_longest, row_error
from service.requests.call import Call
from service.requests.fields import check_group, check_label, check_rows
from service.requests.inputs import RawInput, read_inputs
from service.requests.reply_size import check_reply
from service.requests.tensors import FLOAT_BYTES
from service.serving.scoring import score
from trunkline.resources import TenantName
from trunkline.v1 import advice_pb2, common_pb2, prediction_pb2

MAX_EXAMPLES = 200
"""Of a request: with 64 classes and 1280 numbers a fit takes 0.4 s of a processor."""


@dataclass(frozen=True, slots=True)
class _Labelled:
    """An example that can be learned from."""

    label: str
    group: str | None
    resolved: Resolved


@dataclass(eq=False)
class Classification:
    """Classifies inputs by labelled examples that come with them.

    Heads are fitted in a process of their own, which is started with the first and belongs to no
    training: neither predictions nor trainings wait for them. Tenants take turns.
    """

    _extractor: Extractor
    _embeddings: EmbeddingResolver
    _fit_process: FitProcess
    _tasks: UninterruptedTasks
    _limits: InputLimits
    _max_rows: int
    _max_label_bytes: int
    _fit_seconds: float
    _metrics: Metrics
    _turns: TenantSemaphore = field(default_factory=TenantSemaphore, init=False)

    async def classify(
        self, request: prediction_pb2.ClassifyRequest, call: Call
    ) -> prediction_pb2.ClassifyResponse:
        """Fits a head and classifies every input; an example or input that fails costs itself.

        Raises:
            InvalidRequest: what can be read of the examples is not of two classes.
            Aborted: the fit took too long.
        """
        started = time.perf_counter()
        tenant = TenantName.parse(request.tenant, field="tenant").tenant
        check_rows("examples", len(request.examples), MAX_EXAMPLES)
        check_rows("inputs", len(request.inputs), self._max_rows)
        given = [example.input for example in request.examples]
        raws = await read_inputs([*given, *request.inputs], self._limits)
        backbone = named_or_default(self._extractor, request.backbone, raws)
        _check_reply(request, call)
        outcomes = await self._embeddings.resolve(tenant, backbone, raws, deadline=call.deadline)
        count = len(given)
        examples, failed = self._usable(request.examples, outcomes[:count])
        fitted = await self._fit(tenant, examples, failed, backbone)
        response = prediction_pb2.ClassifyResponse(
            digests=[raw.digest if isinstance(raw, RawInput) else "" for raw in raws[count:]],
            example_errors=_errors(failed, call),
            truncated_examples=_truncated(outcomes[:count]),
            backbone=backbone.name,
            family=fitted.report["family"],
            estimate=fitted.report["estimate"],
        )
        await self._score(response, fitted, outcomes[count:], request.top_k, call)
        response.timing.total_seconds = time.perf_counter() - started
        return response

    def _usable(
        self,
        examples: Sequence[advice_pb2.LabelledInput],
        outcomes: Sequence[Resolved | Exception],
    ) -> tuple[list[_Labelled], dict[int, Exception]]:
        """Returns the examples that can be learned from, and why others cannot, by their row."""
        usable, failed = [], dict[int, Exception]()
        for row, (example, outcome) in enumerate(zip(examples, outcomes, strict=True)):
            try:
                label = check_label(example.label, self._max_label_bytes)
                group = check_group(example.group) or None
            except InvalidRequest as error:
                failed[row] = error
                continue
            if isinstance(outcome, Exception):
                failed[row] = outcome
            else:
                usable.append(_Labelled(label, group, outcome))
        return usable, failed

    async def _fit(
        self,
        tenant: str,
        examples: Sequence[_Labelled],
        failed: dict[int, Exception],
        backbone: BackboneInfo,
    ) -> FittedHead:
        classes = len({example.label for example in examples})
        if classes < MIN_CLASSES:
            first = next(iter(failed), None)
            why = "" if first is None else f"; example {first}: {problem_of(failed[first]).message}"
            raise InvalidRequest(
                f"examples: {MIN_CLASSES} classes are needed, those that can be learned from have "
                f"{classes}{why}",
                field="examples",
                limit=f"{MIN_CLASSES} classes",
                value=classes,
            )
        task = FitTask(
            np.stack([example.resolved.vector for example in examples]),
            [example.label for example in examples],
            adapters.HeadSpec(),
            backbone.fingerprint,
            groups=[example.group for example in examples],
        )
        await self._turns.acquire(tenant)
        # Who leaves amid a fit must not end the process, for which others wait.
        return await self._tasks.run(self._fit_in_turn(task))

    async def _fit_in_turn(self, task: FitTask) -> FittedHead:
        try:
            async with (
                self._fit_process.acquire(),
                time_limit(self._fit_seconds, "examples", "fit_timeout_seconds"),
            ):
                return await self._fit_process.fit(task, ignore_progress)
        finally:
            self._turns.release()

    async def _score(
        self,
        response: prediction_pb2.ClassifyResponse,
        fitted: FittedHead,
        outcomes: Sequence[Resolved | Exception],
        top_k: int,
        call: Call,
    ) -> None:
        started = time.perf_counter()
        failed = {row: found for row, found in enumerate(outcomes) if isinstance(found, Exception)}
        found = {row: found for row, found in enumerate(outcomes) if isinstance(found, Resolved)}
        head = adapters.Head.from_safetensors(fitted.safetensors)
        vectors = np.empty((len(found), 1, head.dim), np.float32)
        for place, resolved in enumerate(found.values()):
            vectors[place, 0] = resolved.vector
        predictions, _ = await score(head, vectors, top_k, None)
        predictions.rows.extend(found)
        response.predictions.CopyFrom(predictions)
        response.errors.extend(_errors(failed, call))
        response.truncated.extend(_truncated(outcomes))
        response.timing.head_seconds = time.perf_counter() - started
        note_longest(response.timing, found.values())
        if found:
            self._metrics.count_rows(call.method, "OK", call.tenant, len(found))


def _check_reply(request: prediction_pb2.ClassifyRequest, call: Call) -> None:
    """Refuses rows whose scores would be more than the client takes."""
    labels = {example.label for example in request.examples}
    shared = sum(len(label.encode()) for label in labels)
    columns = 2 * (min(request.top_k, len(labels)) or len(labels))
    check_reply(call, len(request.inputs), FLOAT_BYTES * columns, shared)


def _errors(failed: dict[int, Exception], call: Call) -> list[common_pb2.RowError]:
    return [row_error(row, error, call.request_id) for row, error in failed.items()]


def _truncated(outcomes: Sequence[Resolved | Exception]) -> list[int]:
    return [
        row for row, found in enumerate(outcomes) if isinstance(found, Resolved) and found.truncated
    ]
