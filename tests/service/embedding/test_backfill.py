"""Embeddings that are computed from kept inputs."""

from __future__ import annotations

from structlog.testing import capture_logs

from tests.service.server import StartServer
from tests.service.tail_heads import MANY
from trunkline.digest import text_digest
from trunkline.v1 import heads_pb2

LONG = "red " + "and redder " * 10


async def test_kept_input_beyond_new_limits_is_left_out_and_the_log_says_so(
    start_server: StartServer,
) -> None:
    async with start_server() as server:
        await server.create(keep_inputs=True, spec=heads_pb2.HeadSpec(family="ridge"))
        await server.add({**MANY, LONG: "red"})
        await server.train()
    async with start_server(fingerprint="0" * 64, max_text_bytes=50) as server:
        with capture_logs() as logs:
            await server.train(backbone="tiny/text")
        warnings = [entry for entry in logs if entry["event"] == "kept input is of no use"]
        assert {entry["digest"] for entry in warnings} == {text_digest(LONG)}
        assert all(str(len(LONG.encode())) in str(entry["error"]) for entry in warnings)
