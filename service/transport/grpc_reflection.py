"""gRPC's reflection service (grpc.reflection.v1alpha)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.descriptor_pool import Default, DescriptorPool
from grpc_reflection.v1alpha import reflection

from service.errors import Unavailable
from service.requests.call import new_request_id
from service.requests.calls import Calls
from service.transport.grpc_errors import abort
from service.transport.protocols.oip.messages import FILE
from service.transport.protocols.oip.messages import SERVICE as INFERENCE


class Reflection(reflection.aio.ReflectionServicer):
    """Reflection whose streams end with an error that says when to come again."""

    def __init__(self, calls: Calls, names: Sequence[str]) -> None:
        super().__init__(names, _pool_of(names))
        self._calls = calls

    async def ServerReflectionInfo(  # type: ignore[override]  # its types say a coroutine
        self, request_iterator: AsyncIterator[Any], unused_context: Any
    ) -> AsyncIterator[Any]:
        """Describes what is asked for."""
        replies: Any = super().ServerReflectionInfo(
            self._calls.upload(request_iterator), unused_context
        )
        try:
            async for reply in replies:
                yield reply
        except Unavailable as error:
            await abort(unused_context, new_request_id(), error)


def _pool_of(names: Sequence[str]) -> DescriptorPool:
    """Returns the files of services in one pool; those of other protocols are not in Python's."""
    pool: Any = DescriptorPool()
    for name in names:
        _add(pool, FILE if name == INFERENCE else Default().FindFileContainingSymbol(name))
    described: DescriptorPool = pool
    return described


def _add(pool: Any, file: Any) -> None:
    for dependency in file.dependencies:
        _add(pool, dependency)
    pool.AddSerializedFile(file.serialized_pb)
