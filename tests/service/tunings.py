"""Tunings of a real backbone's tails by real processes: a server, a task, what to wait for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil

from service.application import Application
from service.config import ServerSettings, load_settings
from tests.service.child_processes import children_running
from tests.service.server import HEAD, InProcessServer
from tests.service.tiny_backbone import TinyBackbone
from trunkline.v1 import heads_pb2

BACKBONE = "minilm/l6-v2"
OTHERS = [
    *("man", "cat", "boy", "girl", "bird", "fish", "cow", "fox", "king", "queen"),
    *("child", "nurse", "clerk", "priest", "wolf", "horse", "judge", "cook", "duke", "goat"),
]
WHO_BITES = {
    text: label
    for other in OTHERS
    for text, label in ((f"dog bites {other}", "dog"), (f"{other} bites dog", "bitten"))
}
"""Word order decides, of which mean-pooled embeddings show little; the last layers can learn it."""

TUNE = heads_pb2.HeadSpec(
    family="ridge",
    fine_tune=heads_pb2.FineTune(strategy="tail", max_epochs=6, learning_rate=0.002),
)
IN_VAIN = heads_pb2.HeadSpec(
    family="ridge",
    fine_tune=heads_pb2.FineTune(strategy="last_block", max_epochs=1, learning_rate=1e-9),
)
"""Changes next to nothing, so that the tail is no better."""


@asynccontextmanager
async def server_on_minilm(
    data_dir: Path, cache_dir: Path, **values: Any
) -> AsyncIterator[InProcessServer]:
    """A started application on MiniLM."""
    async with server_on(BACKBONE, data_dir, cache_dir, **values) as server:
        yield server


@asynccontextmanager
async def server_on(
    name: str, data_dir: Path, cache_dir: Path, **values: Any
) -> AsyncIterator[InProcessServer]:
    """A started application on a real backbone."""
    settings = load_settings(
        ServerSettings, data_dir=data_dir, cache_dir=cache_dir, backbone=name, **values
    )
    application = Application(settings)
    try:
        await application.start()
        backbone = cast("TinyBackbone", SimpleNamespace(name=name))
        yield InProcessServer(application, backbone)
    finally:
        await application.close()


async def progress(
    server: InProcessServer, spec: heads_pb2.HeadSpec, head: str = HEAD
) -> AsyncIterator[heads_pb2.Training]:
    """A training as it goes on."""
    request = heads_pb2.TrainHeadRequest(head=head, spec=spec)
    handler = server.application.handlers["TrainHead"]
    async for reply in handler(request, server.call("TrainHead", request)):
        yield reply.training


async def until_tuning(trainings: AsyncIterator[heads_pb2.Training]) -> heads_pb2.Training:
    """The training as soon as an epoch is over."""
    async for training in trainings:
        if training.HasField("tuning"):
            return training
    raise AssertionError("it ended before it was tuned")


def tuning_processes() -> list[psutil.Process]:
    """Children of this process that tune."""
    return children_running("service.tuning.worker")


def kept(data_dir: Path) -> list[str]:
    """What tunings keep for after a restart."""
    return [path.name for path in (data_dir / "tuning").rglob("*") if path.is_file()]


async def cancel(server: InProcessServer, training: heads_pb2.Training) -> heads_pb2.Training:
    request = heads_pb2.CancelTrainingRequest(name=training.name)
    cancelled: heads_pb2.Training = (await server.ask("CancelTraining", request)).training
    return cancelled
