"""Heads whose active version runs on a tail, put there without tuning one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

import adapters
from models.tails import tail_fingerprint
from service.store import Database, example_sets
from service.store import heads as stored_heads
from service.store import jobs as stored_jobs
from service.store.jobs import NewVersion
from service.store.tails import NewTail
from tests.service.server import HEAD, InProcessServer
from tests.service.tiny_backbone import FINGERPRINT, tail_file, vector_of
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

MANY = {f"{colour} {i}": colour for i in range(8) for colour in ("red", "blue")}
RIDGE = adapters.HeadSpec(family="ridge", l2=1.0)
TAIL = tail_file(0.5)


def features(texts: Sequence[str], shift: float = 0.5) -> NDArray[np.float32]:
    """What the tail that adds `shift` makes of texts."""
    return np.stack([vector_of(text) for text in texts]) + np.float32(shift)


def fitted(labels: Mapping[str, str], data: bytes = TAIL, shift: float = 0.5) -> adapters.Fitted:
    """A head on a tail's features of these texts."""
    return adapters.diagnose(
        adapters.fit(
            features(list(labels), shift),
            list(labels.values()),
            RIDGE,
            fingerprint=tail_fingerprint(data),
        ),
        features(list(labels), shift),
        list(labels.values()),
    )


def database_of(server: InProcessServer) -> Database:
    return server.application._database


async def tuned(
    server: InProcessServer,
    labels: Mapping[str, str] = MANY,
    data: bytes = TAIL,
    shift: float = 0.5,
    head: str = HEAD,
    flips: int = 0,
) -> int:
    """Stores what a fine-tuning on these texts would have made; returns the version's number.

    With `flips` the folds chose so many to tune it on.
    """
    result = fitted(labels, data, shift)
    digests = [text_digest(text) for text in labels]
    rows = features(list(labels), shift)
    new = NewVersion(
        labels=result.head.labels,
        report={
            **result.report.to_json(),
            "likely_mislabelled": [],
            "near_duplicates": [],
            "fine_tuning": {"views": "flips", "view_count": flips} if flips else None,
        },
        safetensors=result.head.to_safetensors(),
        members=dict(zip(digests, labels.values(), strict=True)),
        tail=NewTail(
            tail_fingerprint(data),
            "last_block",
            ("layer.2",),
            data,
            dict(zip(digests, rows, strict=True)),
        ),
    )
    number = await database_of(server).write(_store, head, new)
    await server.ask("UpdateHead", heads_pb2.UpdateHeadRequest(name=head))  # reads it anew
    return number


def _store(connection: Connection, name: str, new: NewVersion) -> int:
    _, tenant, _, head = name.split("/")
    record = stored_heads.get_head(connection, tenant, head)
    job = stored_jobs.start_job(connection, record.uid, RIDGE.to_json(), activate=True)
    finished = stored_jobs.finish_with_version(connection, job, new)
    assert finished is not None
    return finished.version


async def tail_head(server: InProcessServer, **values: Any) -> None:
    """A head with examples, and a version on a tail that is active."""
    await server.create(keep_inputs=True, **values)
    await server.add(MANY)
    await tuned(server)


async def probabilities(
    server: InProcessServer, texts: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """What the head says of each text, in the order of its labels."""
    response = await server.predict(*(common_pb2.Input(text=text) for text in texts))
    assert not response.errors, response.errors
    return dict(zip(texts, in_order(response.predictions[0]), strict=True))


def in_order(group: prediction_pb2.HeadPredictions) -> NDArray[np.float32]:
    """Probabilities (rows, classes) in the order of the labels."""
    shape = tuple(group.probabilities.shape)
    found = np.frombuffer(group.probabilities.data, np.float32).reshape(shape)
    indices = np.frombuffer(group.indices.data, np.uint32).reshape(shape).astype(np.intp)
    ordered = np.empty_like(found)
    np.put_along_axis(ordered, indices, found, axis=1)
    return ordered


async def stored_vectors(
    server: InProcessServer, texts: Sequence[str], fingerprint: str = FINGERPRINT
) -> set[str]:
    """Those of the texts that have an embedding of this fingerprint in the store."""
    head = await database_of(server).read(stored_heads.get_head, "acme", "defects")
    lacking = await database_of(server).read(example_sets.without_embedding, head.uid, fingerprint)
    return {text for text in texts if text_digest(text) not in lacking}
