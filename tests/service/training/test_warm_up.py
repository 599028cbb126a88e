"""The process that fits starts when it is wanted: by the first training, or by a server at rest."""

from __future__ import annotations

from tests.service.child_processes import children_running
from tests.service.server import LABELS, InProcessServer


def training_processes() -> list[int]:
    """Process ids of the workers that this process has started."""
    return [child.pid for child in children_running("service.fitting.worker")]


async def test_application_that_trains_nothing_starts_no_training_process(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add(LABELS)
    assert training_processes() == []
    await server.train()
    assert len(training_processes()) == 1


async def test_first_training_uses_the_process_that_was_started_beforehand(
    server: InProcessServer,
) -> None:
    await server.application.warm_up()
    (started,) = training_processes()
    await server.application.warm_up()
    await server.create()
    await server.add(LABELS)
    await server.train()
    assert training_processes() == [started]
