"""The extraction service on Ray Serve: its servers cannot tell it from any other extractor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from models.catalogue import MINILM_L6_V2
from models.catalogue.loading import load_backbone_network
from service.errors import DeadlineExceeded, InvalidRequest, Unavailable
from service.extraction import Extracted
from service.extraction.remote import RemoteExtractor
from tests.e2e.conftest import TEXTS, Start
from tests.e2e.processes import Running, extractor_command, serve_command
from tests.e2e.ray_cluster import RayCluster, ray_cluster
from tests.e2e.samples import short_texts
from tests.service.extraction.changed_tails import Case, assert_close
from tests.service.tiny_backbone import text_input
from trunkline import Prediction
from trunkline.connection.status import error_from_rpc
from trunkline.v1 import common_pb2, extraction_pb2

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

START_SECONDS = 120
ROWS = [text_input(text) for text in ("a fine day", "rain " * 400, "naïve café", "a fine day!")]


@pytest.fixture(scope="module")
def cluster(cache_dir: Path) -> Iterator[RayCluster]:
    pytest.importorskip("ray")
    with ray_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Running]:
    """One without Ray, on the same backbone."""
    folder = tmp_path_factory.mktemp("extractor")
    command = extractor_command("--socket", str(folder / "socket"), "--device", "cpu")
    running = Running.start(command, folder / "log")
    try:
        yield running.wait_until_serving()
    finally:
        running.close()


@asynccontextmanager
async def reached(address: str, key: str = "") -> AsyncIterator[RemoteExtractor]:
    """What uses an extractor, once it is ready."""
    remote = RemoteExtractor(address, max_message_bytes=1 << 26, timeout_seconds=60, key=key)
    ready = asyncio.Event()
    await remote.start(lambda is_ready: ready.set() if is_ready else ready.clear())
    try:
        async with asyncio.timeout(START_SECONDS):
            await ready.wait()
        yield remote
    finally:
        await remote.close()


@pytest.fixture
async def remote(cluster: RayCluster) -> AsyncIterator[RemoteExtractor]:
    async with reached(cluster.address, cluster.key) as made:
        yield made


async def vectors(extractor: RemoteExtractor) -> list[list[float]]:
    outcomes = await extractor.embed("acme", extractor.backbone(TEXTS), ROWS)
    assert all(isinstance(outcome, Extracted) for outcome in outcomes), outcomes
    return [outcome.vector.tolist() for outcome in outcomes if isinstance(outcome, Extracted)]


async def test_embeddings_are_those_of_an_extractor_without_ray_to_the_bit(
    remote: RemoteExtractor, extractor: Running
) -> None:
    async with reached(extractor.grpc) as plain:
        assert remote.backbones() == plain.backbones()
        assert await vectors(remote) == await vectors(plain)


async def test_tail_and_activations_pass_through_ray(remote: RemoteExtractor) -> None:
    network = load_backbone_network(MINILM_L6_V2.name, device="cpu")
    case = Case(remote, remote.backbone(TEXTS), ROWS, network)
    changed = case.changed(1)
    tail = case.tail(changed)
    found = await asyncio.gather(*(case.embed(tail, tenant) for tenant in ("acme", "bolt")))
    for rows in found:
        assert_close(rows, await case.expected(changed))
    assert case.reads == [tail.fingerprint]
    assert_close(await case.embed(tail), found[0])
    assert case.reads == [tail.fingerprint], "the replica holds it"
    cut = await remote.activations("acme", case.backbone, ROWS, prepared=False)
    assert all(isinstance(row, np.ndarray) and row.dtype == np.float16 for row in cut)


async def test_errors_come_with_their_facts(remote: RemoteExtractor) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await remote.embed("No Tenant", remote.backbone(TEXTS), ROWS)
    error = caught.value
    assert (error.field, error.value) == ("tenant", "tenants/No Tenant")
    assert error.limit == "tenants/{tenant}"
    (bad,) = await remote.embed("acme", remote.backbone(TEXTS), [text_input("\0" * 70_000)])
    assert isinstance(bad, InvalidRequest)
    assert (bad.field, bad.limit) == ("text", "65536")


async def test_deadline_of_a_caller_is_kept(remote: RemoteExtractor) -> None:
    soon = asyncio.get_running_loop().time() + 0.001
    with pytest.raises(DeadlineExceeded):
        await remote.embed("acme", remote.backbone(TEXTS), ROWS, deadline=soon)


async def refused(cluster: RayCluster, method: str, data: bytes, **shown: str) -> Any:
    """The error of a call whose metadata are `shown`, with "-" for "_"."""
    metadata = [(name.replace("_", "-"), value) for name, value in shown.items()]
    async with grpc.aio.insecure_channel(cluster.address) as channel:
        call: Any = channel.unary_unary(f"/trunkline.v1.{method}")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(data, metadata=metadata, timeout=60)
    return caught.value


EMBED = extraction_pb2.EmbedRequest(
    tenant="tenants/acme", backbone=TEXTS, inputs=[common_pb2.Input(text="a")]
).SerializeToString()


async def test_replica_ends_a_call_whose_time_is_over_by_itself(
    cluster: RayCluster, remote: RemoteExtractor
) -> None:
    bearer = f"Bearer {cluster.key}"
    said = {"authorization": bearer, "x_seconds_left": "0"}
    late = await refused(cluster, "ExtractionService/Embed", EMBED, **said)
    assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    found = error_from_rpc(late)
    assert found.field == "deadline"
    assert found.request_id
    said["x_seconds_left"] = "soon"
    wrong = await refused(cluster, "ExtractionService/Embed", EMBED, **said)
    assert error_from_rpc(wrong).field == "x-seconds-left"


@pytest.mark.parametrize("shown", [{}, {"authorization": f"Bearer {'0' * 40}"}])
async def test_call_without_the_key_is_refused_whatever_it_sends(
    shown: dict[str, str], cluster: RayCluster, remote: RemoteExtractor
) -> None:
    for method, data in (
        ("ExtractionService/Embed", b"\xff"),
        ("ExtractionService/ListBackbones", b""),
        ("TailService/EmbedWithTail", b""),
    ):
        error = await refused(cluster, method, data, **shown)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert error_from_rpc(error).field == "authorization"


async def test_what_is_no_message_is_refused_in_our_words(
    cluster: RayCluster, remote: RemoteExtractor
) -> None:
    bearer = f"Bearer {cluster.key}"
    error = await refused(cluster, "ExtractionService/Embed", b"\xff", authorization=bearer)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().startswith("request: must be a trunkline.v1.EmbedRequest")


@pytest.mark.parametrize("method", ["TailService/HoldTail", "AdminService/LoadBackbone"])
async def test_streams_and_loading_are_not_there(
    method: str, cluster: RayCluster, remote: RemoteExtractor
) -> None:
    error = await refused(cluster, method, b"", authorization=f"Bearer {cluster.key}")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_server_learns_and_predicts_on_it(
    cluster: RayCluster, start: Start, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text(cluster.key)
    options = ("--extractor", cluster.address, "--extractor-key-file", str(key))
    server = start(serve_command(tmp_path / "data", *options))
    with server.client() as client:
        client.create_head("acme/mood", TEXTS)
        client.add_examples("acme/mood", short_texts(8))
        client.train("acme/mood")
        (found,) = client.predict("acme/mood", ["I love it"])
        assert isinstance(found, Prediction)
        assert found.label == "positive"


async def test_killed_replica_fails_its_calls_as_unavailable_and_is_replaced(
    cluster: RayCluster, remote: RemoteExtractor
) -> None:
    before = await vectors(remote)
    (replica,) = cluster.replicas()
    long = [text_input(f"{number} " * 400) for number in range(128)]
    work = asyncio.create_task(remote.embed("acme", remote.backbone(TEXTS), long))
    await asyncio.sleep(0.2)  # under way by then, or not: both must end well
    replica.kill()
    with pytest.raises(Unavailable) as caught:
        await work
    assert caught.value.retry_after == 1.0
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                after = await vectors(remote)
                break
            except Unavailable:
                await asyncio.sleep(1.0)  # as the hint says
    assert after == before
    assert [one.pid for one in cluster.replicas()] != [replica.pid]
