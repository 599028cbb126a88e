"""Files of heads, as they should be."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from adapters import Conformal, Head, NoveltyBank
from adapters.fronts import Front

WEIGHT = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 0.25]], np.float32)

BIAS = np.array([0.1, -0.2], np.float32)

LABELS = json.dumps(["bad", "good"])


def file(
    weight: NDArray[Any] | None = WEIGHT,
    bias: NDArray[Any] | None = BIAS,
    extra: dict[str, NDArray[Any]] | None = None,
    **metadata: str,
) -> bytes:
    given = {"weight": weight, "bias": bias, **(extra or {})}
    tensors = {name: array for name, array in given.items() if array is not None}
    return safetensors.numpy.save(tensors, metadata={"labels": LABELS, **metadata})


def full(kind: str = "standardise", *, unit: bool = False) -> Head:
    """A head with everything a head may have; 3 numbers in an embedding."""
    rng = np.random.default_rng(5)
    front = Front.of(kind, rng.normal(2.0, 3.0, (20, 3)), None, 7, unit=unit)
    bank = rng.normal(size=(4, 3))
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    weight = rng.normal(size=(2, front.feature_count)).astype(np.float32)
    return Head(
        family="ridge",
        labels=("bad", "gööd"),
        weight=weight,
        bias=BIAS,
        fingerprint="f00d",
        temperature=0.3,
        l2=1 / 3,
        front=front,
        class_weights={"bad": 2.0, "gööd": 1 / 3},
        novelty=NoveltyBank(bank.astype(np.float16), 2, 1 / 3, True, 0.05),
        conformal=Conformal(np.array([0.1, 1 / 3], np.float32), 1 / 7),
    )
