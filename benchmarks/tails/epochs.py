"""How long a pass over the examples takes: eager torch beside `adapters.tuning`."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import models
from adapters.fronts import Front
from adapters.spec import FineTune
from adapters.tuning.classifier import Classifier
from adapters.tuning.epoch_trainer import BatchSource, Learner
from adapters.tuning.schedule import Plan
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, yes_or_no
from benchmarks.tails.data import Stored
from models.networks.base import Tail

BACKBONE = "efficientnet/lite0"
IMAGES, CLASSES, DIM = 1968, 2, 1280
SHAPE = (112, 14, 14)
"""Of the activations at the backbone's cut."""

ROUNDS, BATCH = 5, 32
LEAST = 3.0
"""Times that a pass here must be as fast as an eager one, on the CPU."""

Epoch = Callable[[], None]


@dataclass(frozen=True)
class Candidate:
    """What runs epochs, and on which device."""

    name: str
    device: str


def measure(run: Run) -> list[Table]:
    """Time the candidates in turn."""
    count = run.size(IMAGES, 4 * BATCH)
    states = np.random.default_rng(0).standard_normal((1, count, *SHAPE)).astype(np.float16)
    tail = models.load_backbone_network(BACKBONE).network.tail()
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    torch.set_num_threads(os.cpu_count() or 1)
    epochs: dict[Candidate, Epoch] = {}
    for device in devices:
        epochs[Candidate("eager torch", device)] = _eager(tail, states[0], device)
        for bfloat16 in (False, True):
            name = "here, in bfloat16" if bfloat16 else "here, in float32"
            epochs[Candidate(name, device)] = _here(tail, states, device, bfloat16)
    rounds = run.size(ROUNDS, 1)
    seconds: dict[Candidate, list[float]] = {candidate: [] for candidate in epochs}
    with run.steps("epochs", len(epochs) * (1 + rounds)) as done:
        for number in range(1 + rounds):
            for candidate, epoch in epochs.items():
                took = _seconds(epoch, candidate.device)
                if number:  # the first one sets up
                    seconds[candidate].append(took)
                done()
    return [_table(seconds, count)]


def _seconds(epoch: Epoch, device: str) -> float:
    started = time.perf_counter()
    epoch()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _eager(tail: Tail, states: NDArray[np.float16], device: str) -> Epoch:
    """Train the library's modules as they are, in float32."""
    tail = copy.deepcopy(tail).eval().requires_grad_(True).to(device)
    head = nn.Linear(DIM, CLASSES, device=device)
    optimizer = torch.optim.AdamW([*tail.parameters(), *head.parameters()], lr=1e-6)

    def epoch() -> None:
        order = np.random.default_rng(0).permutation(len(states))
        for rows in np.array_split(order, -(-len(order) // BATCH)):
            given = torch.from_numpy(states[rows]).to(device).float()
            targets: Tensor = torch.from_numpy(rows % CLASSES).to(device)
            loss = nn.functional.cross_entropy(head(tail(given)), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def _here(tail: Tail, states: NDArray[np.float16], device: str, bfloat16: bool) -> Epoch:
    """Train as `adapters.tuning` does."""
    learner = Learner(tail, Stored(states), device=device, bfloat16=bfloat16)
    random = np.random.default_rng(0)
    front = Front.of("standardise", random.standard_normal((8, DIM)))
    weight = random.standard_normal((CLASSES, DIM)) / DIM
    learner.begin(Classifier(front, weight, np.zeros(CLASSES), 1.0))
    plan = Plan.of(FineTune("tail", learning_rate=1e-6), len(learner.blocks))
    rows = np.arange(states.shape[1])
    source = BatchSource(rows, rows % CLASSES, np.ones(len(rows)), Stored(states), (0,))
    return lambda: _check_finite(learner.train(plan, 1, source))


def _check_finite(loss: float) -> None:
    assert np.isfinite(loss)


def _table(seconds: dict[Candidate, list[float]], count: int) -> Table:
    rows = []
    for candidate, mine in seconds.items():
        eager = seconds[Candidate("eager torch", candidate.device)]
        ratio = median(theirs / ours for theirs, ours in zip(eager, mine, strict=True))
        compared = candidate.device == "cpu" and "bfloat16" in candidate.name
        rows.append(
            (
                candidate.name,
                candidate.device,
                f"{median(mine):.1f} s",
                f"{ratio:.2f}",
                f"≥ {LEAST:g}" if compared else "",
                yes_or_no(ratio >= LEAST) if compared else "",
            )
        )
    rounds = len(next(iter(seconds.values())))
    return Table(
        f"An epoch of {count:,} images on the tail of `{BACKBONE}`",
        ("trained by", "device", "time", "times as fast as eager", "wanted", "met"),
        rows,
        f"All blocks after the cut, AdamW, batches of {BATCH}, activations in half precision in "
        f"memory; validation not included. {rounds} alternated rounds, {torch.get_num_threads()} "
        "threads on the CPU; medians, ratios of the same round.",
    )
