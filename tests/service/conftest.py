"""A store, a server in this process, and a trained head that learns from feedback."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from adapters import FAMILIES
from models import InputLimits
from service.application import Application
from service.config import MIB, ServerSettings, extractor_settings, load_settings
from service.config.store_address import store_url
from service.extraction import local
from service.extraction.decoding import DecodeCalls, DecodeThreads
from service.metrics import Metrics
from service.store import Database, open_database
from tests.second_run import ON_POSTGRES, store_of
from tests.service.learning_head import LearningHead, OpenLearningHead, around
from tests.service.server import InProcessServer, StartServer
from tests.service.tiny_backbone import FINGERPRINT, TinyBackbone
from trunkline.v1 import heads_pb2

Trained = Callable[[str], Awaitable[Path]]


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, to be copied: making its tables takes longer than most tests."""
    folder = tmp_path_factory.mktemp("empty-store")
    open_database(folder).close()
    return folder / "trunkline.db"


def copy_store(empty_store: Path, data_dir: Path) -> None:
    """Copies the empty store to where there is none yet, unless it is elsewhere."""
    if ON_POSTGRES:
        return
    data_dir.mkdir(parents=True, exist_ok=True)
    if not (data_dir / empty_store.name).exists():
        shutil.copy(empty_store, data_dir)


@pytest.fixture
def database(empty_store: Path, tmp_path: Path) -> Iterator[Database]:
    copy_store(empty_store, tmp_path / "data")
    store = store_of(tmp_path / "data")
    opened = open_database(tmp_path / "data", store_url(store) if store else None, connections=4)
    yield opened
    opened.close()


@pytest.fixture
def own_logging() -> Iterator[None]:
    """For tests that configure logging: it is as it was when they are over."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
async def decoding() -> AsyncIterator[DecodeCalls]:
    threads = DecodeThreads(1)
    calls = DecodeCalls(threads, Metrics(1))
    yield calls
    await calls.close()
    threads.close()


@asynccontextmanager
async def _started(
    data_dir: Path,
    patch: pytest.MonkeyPatch,
    fingerprint: str = FINGERPRINT,
    backbone: TinyBackbone | None = None,
    **values: Any,
) -> AsyncIterator[InProcessServer]:
    backbone = backbone or TinyBackbone()
    backbone.fingerprint = fingerprint

    def load(name: str, *, limits: InputLimits, **_: object) -> TinyBackbone:
        backbone.limits = limits
        return backbone

    patch.setattr(local, "load_backbone", load)
    patch.setattr(extractor_settings, "check_backbones", lambda *_: None)
    values = {"fit_threads": 1, "disk_reserve_bytes": MIB, **values}
    if store := store_of(data_dir):
        values = {"store": store, "store_connections": 4, **values}
    settings = load_settings(ServerSettings, data_dir=data_dir, backbone=backbone.name, **values)
    application = Application(settings)
    try:
        await application.start()
        yield InProcessServer(application, backbone)
    finally:
        await application.close()


@pytest.fixture
def start_server(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StartServer:
    """Starts an application on one data directory, again and again if a test wants that."""

    @asynccontextmanager
    async def start(
        fingerprint: str = FINGERPRINT, data_dir: Path = tmp_path, **values: Any
    ) -> AsyncIterator[InProcessServer]:
        copy_store(empty_store, data_dir)
        async with _started(data_dir, monkeypatch, fingerprint, **values) as opened:
            yield opened

    return start


@pytest.fixture
async def server(start_server: StartServer) -> AsyncIterator[InProcessServer]:
    """An application on an empty data directory."""
    async with start_server() as opened:
        yield opened


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Data directories with a head of 20 red and 20 blue examples, by the head's family."""
    made: dict[str, Path] = {}

    async def train(family: str) -> Path:
        if family in made:
            return made[family]
        path = tmp_path_factory.mktemp(f"trained-{family}")
        with pytest.MonkeyPatch.context() as patch:
            async with _started(path, patch) as server:
                await server.create(spec=heads_pb2.HeadSpec(family=family))
                live = LearningHead(server)
                await live.add(around("red", 20, seed=1), "red")
                await live.add(around("blue", 20, seed=2), "blue")
                assert (await server.train()).version == 1
        made[family] = path
        return path

    return train


@pytest.fixture
def open_learning_head(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> OpenLearningHead:
    """Opens a trained head on one data directory, again and again if a test wants that."""

    @asynccontextmanager
    async def start(
        policy: heads_pb2.FeedbackPolicy.ValueType = heads_pb2.FEEDBACK_POLICY_UNSPECIFIED,
        *,
        family: str = "ridge",
        **values: Any,
    ) -> AsyncIterator[LearningHead]:
        assert family in FAMILIES
        data_dir = tmp_path / "live"
        if not data_dir.exists():
            shutil.copytree(await trained(family), data_dir)
        async with _started(data_dir, monkeypatch, **values) as server:
            live = LearningHead(server)
            if policy:
                await live.update(policy=policy)
            yield live

    return start
