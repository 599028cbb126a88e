"""A store of many tenants with a head each, some of them on tails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sqlalchemy import Connection

import adapters
from benchmarks.tails.changed import changed_tail, network
from models.tails import tail_fingerprint
from service.store import open_database
from service.store.heads import create_head
from service.store.tails import NewTail, store_tail
from service.store.versions import add_version
from trunkline import Backbone

CLASSES, EXAMPLES = 3, 60


async def fill(
    data_dir: Path, backbone: Backbone, tenants: int, tails: int, done: Callable[[], None]
) -> None:
    """Store a head `h` with an active version for each of the tenants `t0`, `t1` and so on.

    Args:
        backbone: as the server that will use the store loads it.
        tails: how many of the tenants, spread evenly, have a tail; each has one of its own.
        done: is called after each tenant.
    """
    fitted, blocks = _fitted(backbone), network()
    tuned = {number * tenants // tails for number in range(tails)}
    database = open_database(data_dir)
    try:
        for number in range(tenants):
            tail = None
            if number in tuned:
                data = changed_tail(blocks, backbone.fingerprint, number)
                tail = NewTail(tail_fingerprint(data), "tail", blocks.tail_blocks, data)
            await database.write(_insert, number, backbone, fitted, tail)
            done()
    finally:
        database.close()


def _insert(
    connection: Connection,
    number: int,
    backbone: Backbone,
    fitted: adapters.Fitted,
    tail: NewTail | None,
) -> None:
    head = create_head(
        connection,
        tenant=f"t{number}",
        name="h",
        backbone=backbone.name,
        fingerprint=backbone.fingerprint,
        spec=adapters.HeadSpec().to_json(),
        keep_inputs=False,
    )
    fingerprint = backbone.fingerprint
    if tail is not None:
        store_tail(connection, head, tail)
        fingerprint = tail.fingerprint
    weights = dataclasses.replace(fitted.head, fingerprint=fingerprint)
    add_version(
        connection,
        head.uid,
        source="training",
        labels=weights.labels,
        report=fitted.report.to_json(),
        example_count=EXAMPLES,
        safetensors=weights.to_safetensors(),
        activate=True,
        tail=None if tail is None else tail.fingerprint,
    )


def _fitted(backbone: Backbone) -> adapters.Fitted:
    """Train a head as tenants do, on examples of classes that overlap."""
    rng = np.random.default_rng(0)
    targets = np.arange(EXAMPLES) % CLASSES
    centres = rng.normal(size=(CLASSES, backbone.dim))
    embeddings = centres[targets] + 3 * rng.normal(size=(EXAMPLES, backbone.dim))
    labels = [f"class {target}" for target in targets]
    return adapters.fit(embeddings, labels, fingerprint=backbone.fingerprint)
