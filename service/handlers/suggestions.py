"""The RPC ``SuggestExamples``: which stored inputs without a label are most worth one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

import adapters
from adapters import active_learning
from service.config import ServerSettings
from service.embedding.backfill import EmbeddingBackfill
from service.embedding.head_backbones import current_backbone
from service.errors import InvalidRequest, PreconditionFailed
from service.extraction import Extractor
from service.live import LiveCopies
from service.replies.heads import example_message
from service.requests.call import Call
from service.serving import scoring
from service.serving.head_cache import HeadCache
from service.store import Database, example_sets, kept_inputs
from service.store import examples as stored_examples
from service.store import heads as stored_heads
from service.store.examples import ExampleRecord
from service.store.head_records import HeadRecord
from trunkline.resources import HeadName
from trunkline.v1 import common_pb2, heads_pb2

DEFAULT_COUNT = 10
MAX_COUNT = 1000

MAX_CANDIDATES = 20_000
"""The newest ones; 100 MB of embeddings of 1280 numbers."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """Digests of the suggestions, and what the head predicts for each."""

    digests: list[str]
    labels: list[str]
    probabilities: list[float]


@dataclass(eq=False)
class Suggestions:
    """Suggests what to label next."""

    _database: Database
    _extractor: Extractor
    _head_cache: HeadCache
    _backfill: EmbeddingBackfill
    _live: LiveCopies
    _settings: ServerSettings

    async def suggest_examples(
        self, request: heads_pb2.SuggestExamplesRequest, call: Call
    ) -> heads_pb2.SuggestExamplesResponse:
        """Suggests examples without a label, most worth one first.

        Inputs are sent along as long as they fit into one message.
        """
        count = _count(request.count)
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        current_backbone(self._extractor, head)
        serving = await self._serving(head)
        strategy = _strategy(request.strategy, serving)
        await self._backfill.of_active(head)
        fingerprint = head.fingerprint if serving is None else serving.fingerprint
        digests, embeddings = await self._database.read(
            example_sets.unlabelled_set, head.uid, MAX_CANDIDATES, fingerprint
        )
        labelled = None
        if strategy == "diverse":
            known = await self._database.read(example_sets.training_set, head.uid, fingerprint)
            labelled = known.embeddings
        if not digests:
            return heads_pb2.SuggestExamplesResponse(strategy=strategy)
        seed = adapters.HeadSpec.from_json(head.spec).seed
        choice = await asyncio.to_thread(
            _choose, digests, embeddings, labelled, serving, count, strategy, seed
        )
        records, inputs = await self._database.read(
            _details, head, choice.digests, self._settings.max_message_bytes
        )
        return heads_pb2.SuggestExamplesResponse(
            suggestions=_messages(choice, records, inputs), strategy=strategy
        )

    async def _serving(self, head: HeadRecord) -> adapters.Head | None:
        """Returns the head that serves now, if there is one."""
        try:
            loaded = await self._head_cache.active(head.resource)
        except PreconditionFailed:
            return None
        return (await self._live.serving(loaded)).head


def _choose(
    digests: Sequence[str],
    embeddings: NDArray[np.float32],
    labelled: NDArray[np.float32] | None,
    head: adapters.Head | None,
    count: int,
    strategy: str,
    seed: int,
) -> _Choice:
    known = labelled if labelled is not None and len(labelled) else None
    rows = active_learning.suggest(
        embeddings, count, head=head, labelled=known, strategy=strategy, seed=seed
    )
    chosen = [digests[row] for row in rows]
    if head is None:
        return _Choice(chosen, [""] * len(chosen), [0.0] * len(chosen))
    labels, probabilities = scoring.probabilities(head, embeddings[rows])
    best = probabilities.argmax(axis=1)
    return _Choice(
        chosen,
        [labels[index] for index in best],
        [float(row[index]) for row, index in zip(probabilities, best, strict=True)],
    )


def _details(
    connection: Connection, head: HeadRecord, digests: Sequence[str], max_bytes: int
) -> tuple[dict[str, ExampleRecord], dict[str, bytes]]:
    """Returns the examples, and inputs of the first of them, `max_bytes` in all."""
    inputs = kept_inputs.find_first_inputs(connection, head.uid, digests, max_bytes)
    return stored_examples.find_examples(connection, head.uid, digests), inputs


def _messages(
    choice: _Choice, records: Mapping[str, ExampleRecord], inputs: Mapping[str, bytes]
) -> list[heads_pb2.Suggestion]:
    messages = []
    rows = zip(choice.digests, choice.labels, choice.probabilities, strict=True)
    for digest, label, probability in rows:
        if digest not in records:  # deleted meanwhile
            continue
        message = heads_pb2.Suggestion(
            example=example_message(records[digest]),
            predicted_label=label,
            probability=probability,
        )
        if digest in inputs:
            message.input.CopyFrom(common_pb2.Input.FromString(inputs[digest]))
        messages.append(message)
    return messages


def _count(wanted: int) -> int:
    if wanted > MAX_COUNT:
        raise InvalidRequest.at("count", "at most {limit}, is {value}", MAX_COUNT, wanted)
    return wanted or DEFAULT_COUNT


def _strategy(wanted: str, head: adapters.Head | None) -> str:
    known = ", ".join(active_learning.STRATEGIES)
    if wanted and wanted not in active_learning.STRATEGIES:
        raise InvalidRequest.at("strategy", "must be one of {limit}, is {value!r}", known, wanted)
    if head is not None:
        return wanted or active_learning.DEFAULT
    if wanted == "margin":
        raise PreconditionFailed(
            "strategy: margin needs an active version; train the head, or take another",
            field="strategy",
            limit="diverse, random",
            value=wanted,
        )
    return wanted or "diverse"
