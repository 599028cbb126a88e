"""A bare grpc.aio server: takes any bytes and answers with as many as it was started with."""

from __future__ import annotations

import asyncio
import sys

import grpc


async def serve(reply_bytes: int) -> None:
    """Serves until standard input ends; prints the port."""
    reply = bytes(reply_bytes)

    async def echo(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return reply

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.method_handlers_generic_handler(
        "trunkline.v1.PredictionService", {"Predict": grpc.unary_unary_rpc_method_handler(echo)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
