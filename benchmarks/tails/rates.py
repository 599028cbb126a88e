"""How many inputs a second each engine embeds on each device, on CUDA with and without graphs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

import models
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table
from models import Backbone, Modality, PreparedInput

BATCH, ROUNDS = 32, 5
PASSES = {"cpu": 4, "cuda": 200}
"""Of a round."""

WORDS = ("slow", "kind", "service", "people", "room", "food", "again", "never", "was", "the")

REFERENCE = ("onnxruntime", "cpu", False)
"""What embeddings are compared with."""


@dataclass(frozen=True)
class Candidate:
    """An engine on a device.

    Attributes:
        recorded: whether it has been warmed up: on CUDA, passes are recorded as graphs then.
    """

    engine: str
    device: str
    recorded: bool

    @property
    def name(self) -> str:
        """Its name in the table."""
        graphs = {True: ", CUDA graphs", False: ", no graphs"}[self.recorded]
        return f"{self.engine}{graphs if self.engine == 'torch' and self.device == 'cuda' else ''}"


def measure(run: Run) -> list[Table]:
    """Time the engines in turn on each embedded backbone."""
    names = [models.default_backbone(modality) for modality in Modality]
    return [_measure(run, name) for name in names]


def _candidates() -> list[Candidate]:
    found = [Candidate(*REFERENCE), Candidate("torch", "cpu", recorded=False)]
    if torch.cuda.is_available():
        found += [Candidate("torch", "cuda", recorded) for recorded in (False, True)]
    return found


def _measure(run: Run, name: str) -> Table:
    backbones = {}
    for candidate in _candidates():
        backbone = models.load_backbone(
            name, engine=candidate.engine, device=candidate.device, cache_dir=run.cache
        )
        if candidate.recorded:
            backbone.warm_up()
        backbones[candidate] = backbone
    batch = _batch(backbones[Candidate(*REFERENCE)])
    expected = backbones[Candidate(*REFERENCE)].forward(batch)
    off = {
        candidate: float(np.abs(backbone.forward(batch) - expected).max())
        for candidate, backbone in backbones.items()
    }
    rounds = run.size(ROUNDS, 1)
    rates: dict[Candidate, list[float]] = {candidate: [] for candidate in backbones}
    with run.steps(name, rounds * len(backbones)) as done:
        for _ in range(rounds):
            for candidate, backbone in backbones.items():
                rates[candidate].append(_rate(backbone, batch, PASSES[candidate.device]))
                done()
    for backbone in backbones.values():
        backbone.close()
    rows = [
        (candidate.name, candidate.device, f"{median(found):,.0f}", f"{off[candidate]:.1e}")
        for candidate, found in rates.items()
    ]
    largest = float(np.abs(expected).max())
    return Table(
        f"Inputs a second of `{name}`",
        ("engine", "device", "inputs/s", "largest difference"),
        rows,
        f"Batches of {BATCH} that are decoded already, transfers included; {rounds} alternated "
        f"rounds, medians. Differences from the first row's embeddings, of numbers up to "
        f"{largest:.1f}. float32 on the CPU, bfloat16 on CUDA.",
    )


def _batch(backbone: Backbone) -> list[PreparedInput]:
    random = np.random.default_rng(0)
    if backbone.modality is Modality.TEXT:
        return [backbone.preprocess(" ".join(random.permutation(WORDS))) for _ in range(BATCH)]
    shape = (BATCH, 224, 224, 3)
    return [backbone.preprocess(image) for image in random.integers(0, 256, shape, np.uint8)]


def _rate(backbone: Backbone, batch: list[PreparedInput], passes: int) -> float:
    started = time.perf_counter()
    for _ in range(passes):
        backbone.forward(batch)
    return passes * len(batch) / (time.perf_counter() - started)
