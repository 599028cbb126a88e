"""Heads on made-up tails, in a store that no server has yet: an import has no tail."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

import adapters
from drills.common.answers import Probes, State
from drills.common.churn import LABELS
from drills.common.servers import TEXTS
from models import load_backbone_network
from models.tails import tail_fingerprint, write_tail
from service.store import heads as stored_heads
from service.store import jobs as stored_jobs
from service.store import open_database
from service.store.jobs import NewVersion
from service.store.tails import NewTail
from trunkline.resources import HeadName

ON_TAILS = 2
"""Versions of each head on a tail of their own; one more runs on the backbone itself."""

NOISE = 0.2
"""By how much of its mean size each number of the last block is moved: enough for other answers."""

RIDGE = adapters.HeadSpec(family="ridge", l2=1.0)

Tensors = Mapping[str, NDArray[np.float32]]


async def store_tails(
    data_dir: Path, probes: Probes, heads: Sequence[str]
) -> dict[str, list[State]]:
    """Stores the heads; gives their versions, of which the last is active."""
    tensors = await asyncio.to_thread(_last_block)
    database = open_database(data_dir)
    found: dict[str, list[State]] = {head: [] for head in heads}
    for seed, (head, states) in enumerate(found.items()):
        for version in range(1, ON_TAILS + 2):
            rng = np.random.default_rng([seed, version])
            data = _tail(probes.fingerprint, tensors, rng) if version <= ON_TAILS else b""
            fitted = await asyncio.to_thread(_fit, probes, data, rng)
            await database.write(_store, head, probes.fingerprint, fitted, data)
            states.append(State(f"stored {head}", version, fitted.head, data))
    await asyncio.to_thread(database.close)
    return found


def _last_block() -> Tensors:
    """The parameters of the backbone's last block, by name."""
    network = load_backbone_network(TEXTS, engine="onnxruntime", device="cpu").network
    *_, (_, block) = network.shared_tail().named_blocks()
    return {name: tensor.detach().numpy() for name, tensor in block.named_tensors()}


def _tail(fingerprint: str, tensors: Tensors, rng: np.random.Generator) -> bytes:
    moved = {
        name: tensor + NOISE * np.abs(tensor).mean() * rng.normal(size=tensor.shape)
        for name, tensor in tensors.items()
    }
    return write_tail(fingerprint, moved, whole=False)


def _fit(probes: Probes, tail: bytes, rng: np.random.Generator) -> adapters.Fitted:
    """A head on what the tail makes of the probes, under labels by chance."""
    features = probes.on_tail(tail) if tail else probes.embeddings
    labels = [LABELS[i] for i in rng.permutation(len(features)) % len(LABELS)]
    fingerprint = tail_fingerprint(tail) if tail else probes.fingerprint
    return adapters.fit(features, labels, RIDGE, fingerprint=fingerprint)


def _store(
    connection: Connection, head: str, fingerprint: str, fitted: adapters.Fitted, tail: bytes
) -> None:
    name, spec = HeadName.parse(head), RIDGE.to_json()
    record = stored_heads.find_head(connection, name.tenant, name.head) or stored_heads.create_head(
        connection,
        tenant=name.tenant,
        name=name.head,
        backbone=TEXTS,
        fingerprint=fingerprint,
        spec=spec,
        keep_inputs=False,
    )
    job = stored_jobs.start_job(connection, record.uid, spec, activate=True)
    new = NewVersion(
        labels=fitted.head.labels,
        report={**fitted.report.to_json(), "likely_mislabelled": [], "near_duplicates": []},
        safetensors=fitted.head.to_safetensors(),
        members={},
        tail=NewTail(tail_fingerprint(tail), "last_block", ("last",), tail) if tail else None,
    )
    stored_jobs.finish_with_version(connection, job, new)
