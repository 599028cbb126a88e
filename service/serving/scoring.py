"""Scores embeddings with a head: calibrated probabilities, conformal sets, novelty."""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from adapters import Head
from service.capture.sampling import ScoredRows
from service.requests.tensors import to_tensor
from trunkline.labels import normalised
from trunkline.v1 import prediction_pb2

INLINE_MULTIPLICATIONS = 4_000_000
"""A matrix product up to this size takes at most two milliseconds and stays on the event loop."""


async def score(
    head: Head, vectors: NDArray[np.float32], top_k: int, level: float | None
) -> tuple[prediction_pb2.HeadPredictions, ScoredRows]:
    """Scores rows with a head, in one product; a large one is computed in a thread.

    Returns:
        What the client is told, and all of what the head said.

    Args:
        vectors: of shape (rows, views, dim): of each row the embedding of the input itself, then
            those of its views. Probabilities are averaged over them; conformal sets and novelty are
            those of the input itself.
        top_k: how many classes to return, best first; 0 for all.
        level: of conformal sets; None for none.
    """
    if vectors.size * _width(head) > INLINE_MULTIPLICATIONS:
        return await asyncio.to_thread(_score, head, vectors, top_k, level)
    return _score(head, vectors, top_k, level)


def answers(head: Head, embeddings: NDArray[np.float32]) -> list[str]:
    """Returns the label that a head gives to each embedding; they have shape (n, dim)."""
    labels, joining = _classes(head)
    scores = head.logits(embeddings) if joining is None else head.probabilities(embeddings)
    best = (scores if joining is None else scores @ joining).argmax(axis=1)
    return [labels[index] for index in best]


def probabilities(
    head: Head, embeddings: NDArray[np.float32]
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Returns labels, and the probability of each, of shape (n, labels)."""
    labels, joining = _classes(head)
    found = head.probabilities(embeddings)
    return labels, found if joining is None else found @ joining


def _classes(head: Head) -> tuple[tuple[str, ...], NDArray[np.float32] | None]:
    """Returns the labels a head answers with, and which of its classes are joined in each.

    That is a matrix of ones of shape (classes, labels). It is None but for versions that were made
    before labels were normalised, and learned one label in two forms.
    """
    if all(map(str.isascii, head.labels)):
        return head.labels, None
    forms = [normalised(label) for label in head.labels]
    labels = tuple(dict.fromkeys(forms))
    if len(labels) == len(forms):
        return head.labels, None
    joining = np.zeros((len(forms), len(labels)), np.float32)
    joining[np.arange(len(forms)), [labels.index(form) for form in forms]] = 1
    return labels, joining


def _score(
    head: Head, vectors: NDArray[np.float32], top_k: int, level: float | None
) -> tuple[prediction_pb2.HeadPredictions, ScoredRows]:
    rows, views, dim = vectors.shape
    labels, scores = probabilities(head, vectors.reshape(rows * views, dim))
    k = min(top_k, len(labels)) or len(labels)
    if views > 1:
        scores = scores.reshape(rows, views, len(labels)).mean(axis=1)
    every = np.argsort(-scores, axis=1, kind="stable")
    order, novelty = every[:, :k], None
    reply = prediction_pb2.HeadPredictions(
        labels=labels,
        indices=to_tensor(order.astype(np.uint32)),
        probabilities=to_tensor(scores[np.arange(rows)[:, None], order]),
    )
    if level is not None and head.conformal is not None:
        sets = head.conformal.sets(head.logits(vectors[:, 0]), level)
        _, joining = _classes(head)
        if joining is not None:
            sets = sets @ joining > 0
        reply.set_sizes.CopyFrom(to_tensor(sets.sum(axis=1, dtype=np.uint32)))
        reply.set_indices.CopyFrom(to_tensor(np.nonzero(sets)[1].astype(np.uint32)))
    if head.novelty is not None:
        novelty = head.novelty.scores(vectors[:, 0])
        reply.novelty.CopyFrom(to_tensor(novelty))
        reply.novel.extend((novelty > 1).tolist())
        reply.abstains = head.novelty.abstain
    return reply, ScoredRows(labels, every, scores, novelty)


def _width(head: Head) -> int:
    """Returns the multiplications that one number of an embedding takes part in, roughly."""
    front = head.front.width if head.front is not None else 0
    kept = len(head.novelty.bank) if head.novelty is not None else 0
    return len(head.labels) + front + kept
