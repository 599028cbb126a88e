"""The client for programs with an event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Self, TypeVar

import grpc

from trunkline import calls, channel, flows
from trunkline.calls import Call, Page, Pause, SendExamples, WatchTraining
from trunkline.errors import DeadlineExceeded, Internal, Unavailable
from trunkline.flows import Flow, Step
from trunkline.inputs import InputLike, reads_file
from trunkline.retrying import Attempts
from trunkline.status import error_from_rpc
from trunkline.uploading import upload
from trunkline.values import (
    Backbone,
    Changes,
    Embedding,
    Example,
    Export,
    Head,
    HeadSpec,
    Prediction,
    Receipt,
    Report,
    RowFailure,
    Training,
    Upload,
    UploadProgress,
    Version,
)

T = TypeVar("T")


class AsyncClient:
    """A connection to a Trunkline server, for one event loop.

    The methods are those of `trunkline.Client`, where they are described in full. Files are read in
    a thread; `on_progress` functions are called on the event loop.
    """

    def __init__(
        self,
        address: str = channel.DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        timeout: float = channel.DEFAULT_TIMEOUT,
    ) -> None:
        self.address = channel.check_address(address)
        self.timeout = channel.check_timeout(timeout)
        self._metadata = channel.call_metadata(token)
        self._channel = grpc.aio.insecure_channel(address, options=channel.channel_options(address))
        self._stubs = {stub: stub(self._channel) for stub in calls.STUBS}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        await self._channel.close()

    async def ready(self, service: str = "", *, timeout: float | None = None) -> bool:
        """Whether the server answers and serves (all of it, or one gRPC service); never waits."""
        call = calls.ready(service)
        try:
            return await self._once(call, self._seconds(timeout))
        except (Unavailable, DeadlineExceeded):
            return False

    async def backbones(self, *, timeout: float | None = None) -> list[Backbone]:
        """The backbones that are loaded."""
        return await self._call(calls.list_backbones(), timeout)

    async def embed(
        self,
        tenant: str,
        inputs: Iterable[InputLike],
        backbone: str = "",
        *,
        timeout: float | None = None,
    ) -> list[Embedding | RowFailure]:
        """The embedding of each input, in order, or why that row failed."""
        rows = list(inputs)
        flow = flows.embed(tenant, rows, backbone)
        return await self._run(flow, timeout, blocks=any(map(reads_file, rows)))

    async def create_head(
        self,
        head: str,
        backbone: str,
        spec: HeadSpec | None = None,
        *,
        keep_inputs: bool = False,
        timeout: float | None = None,
    ) -> Head:
        """Makes a head on a backbone. Raises `AlreadyExists` if the name is taken."""
        return await self._call(calls.create_head(head, backbone, spec, keep_inputs), timeout)

    async def get_head(self, head: str, *, timeout: float | None = None) -> Head:
        """The head. Raises `NotFound`."""
        return await self._call(calls.get_head(head), timeout)

    def list_heads(self, tenant: str, *, timeout: float | None = None) -> AsyncIterator[Head]:
        """All heads of a tenant, fetched page by page."""
        return self._pages(lambda token: calls.list_heads(tenant, token), timeout)

    async def delete_head(self, head: str, *, timeout: float | None = None) -> None:
        """Deletes a head with its examples, versions and feedback."""
        await self._call(calls.delete_head(head), timeout)

    async def find_missing(
        self, head: str, digests: Sequence[str], *, timeout: float | None = None
    ) -> set[str]:
        """Which of these digests (at most 5,000) have no stored embedding."""
        return await self._call(calls.find_missing(head, digests), timeout)

    async def add_examples(
        self,
        head: str,
        items: Iterable[tuple[InputLike, str | None]],
        *,
        timeout: float | None = None,
    ) -> Upload:
        """Stores (input, label) pairs right away; label None for one that is not known yet."""
        flow = upload(head, items, ask=False, on_progress=None)
        return await self._run(flow, timeout, blocks=True)

    async def upload(
        self,
        head: str,
        items: Iterable[tuple[InputLike, str | None]],
        on_progress: Callable[[UploadProgress], None] | None = None,
        *,
        timeout: float | None = None,
    ) -> Upload:
        """Stores (input, label) pairs, however many, and sends no byte the server knows."""
        flow = upload(head, items, ask=True, on_progress=on_progress)
        return await self._run(flow, timeout, blocks=True)

    def list_examples(
        self, head: str, label: str | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[Example]:
        """The stored examples (with this label), fetched page by page."""
        return self._pages(lambda token: calls.list_examples(head, label, token), timeout)

    async def update_examples(
        self, head: str, labels: Mapping[str, str | None], *, timeout: float | None = None
    ) -> Changes:
        """Changes labels by digest; None takes a label away."""
        return await self._run(flows.update_examples(head, labels), timeout)

    async def delete_examples(
        self, head: str, digests: Iterable[str], *, timeout: float | None = None
    ) -> Changes:
        """Removes examples from the head's next training."""
        return await self._run(flows.delete_examples(head, digests), timeout)

    async def train(
        self,
        head: str,
        spec: HeadSpec | None = None,
        *,
        activate: bool = True,
        on_progress: Callable[[Training], None] | None = None,
        timeout: float | None = None,
    ) -> Training:
        """Trains a version on the stored examples, and waits for it."""
        return await self._run(flows.train(head, spec, activate, on_progress, timeout), None)

    async def get_training(self, name: str, *, timeout: float | None = None) -> Training:
        """A training by its full name."""
        return await self._call(calls.get_training(name), timeout)

    async def cancel_training(self, name: str, *, timeout: float | None = None) -> Training:
        """Cancels a training by its full name; one that has ended stays as it is."""
        return await self._call(calls.cancel_training(name), timeout)

    async def predict(
        self,
        head: str,
        inputs: Iterable[InputLike],
        top_k: int = 0,
        version: int | None = None,
        *,
        timeout: float | None = None,
    ) -> list[Prediction | RowFailure]:
        """The prediction for each input, in order, or why that row failed."""
        rows = list(inputs)
        flow = flows.predict(head, rows, top_k, version)
        return await self._run(flow, timeout, blocks=any(map(reads_file, rows)))

    async def feedback(
        self,
        head: str,
        items: Iterable[tuple[InputLike, str]],
        *,
        timeout: float | None = None,
    ) -> list[Receipt | RowFailure]:
        """Stores the right labels of (input, label) pairs durably: a receipt or a failure each."""
        pairs = list(items)
        blocks = any(reads_file(item) for item, _ in pairs)
        return await self._run(flows.feedback(head, pairs), timeout, blocks=blocks)

    async def import_head(
        self,
        head: str,
        safetensors: bytes,
        backbone: str,
        *,
        fingerprint: str | None = None,
        labels: Sequence[str] = (),
        activate: bool = True,
        timeout: float | None = None,
    ) -> Version:
        """Makes a version from weights trained elsewhere, and the head if there is none."""
        flow = flows.import_head(head, safetensors, backbone, fingerprint, labels, activate)
        return await self._run(flow, timeout)

    async def export_head(
        self, head: str, version: int | None = None, *, timeout: float | None = None
    ) -> Export:
        """A version (the active one by default) with its weights."""
        return await self._call(calls.export_head(head, version), timeout)

    def versions(self, head: str, *, timeout: float | None = None) -> AsyncIterator[Version]:
        """All versions, newest first, fetched page by page."""
        return self._pages(lambda token: calls.list_versions(head, token), timeout)

    async def activate(self, head: str, version: int, *, timeout: float | None = None) -> Head:
        """Makes a version the one that answers."""
        return await self._call(calls.activate(head, version), timeout)

    async def report(
        self, head: str, version: int | None = None, *, timeout: float | None = None
    ) -> Report:
        """The report of a version (the active one by default)."""
        return await self._call(calls.report(head, version), timeout)

    async def _run(self, flow: Flow[T], timeout: float | None, *, blocks: bool = False) -> T:
        """Runs a flow to its end; one that `blocks` (it reads files) is run in a thread."""
        state = await self._advance(partial(next, flow), blocks)
        while not isinstance(state, _Done):
            try:
                outcome = await self._step(state, timeout)
            except Exception as error:
                state = await self._advance(partial(flow.throw, error), blocks)
            else:
                state = await self._advance(partial(flow.send, outcome), blocks)
        result: T = state.result
        return result

    async def _advance(self, resume: Callable[[], Step], blocks: bool) -> "Step | _Done[Any]":
        return await asyncio.to_thread(_resumed, resume) if blocks else _resumed(resume)

    async def _step(self, step: Step, timeout: float | None) -> Any:
        match step:
            case Call():
                return await self._call(step, timeout)
            case SendExamples():
                return await self._send(step, timeout)
            case WatchTraining():
                return await self._watch(step)
            case Pause():
                return await asyncio.sleep(step.seconds)

    async def _call(self, call: Call[T], timeout: float | None) -> T:
        attempts = Attempts(self._seconds(timeout), idempotent=call.idempotent)
        while True:
            try:
                return await self._once(call, attempts.remaining)
            except Unavailable as error:
                await asyncio.sleep(attempts.pause(error))

    async def _once(self, call: Call[T], timeout: float) -> T:
        method = getattr(self._stubs[call.stub], call.rpc)
        try:
            reply = await method(
                call.request,
                timeout=timeout,
                metadata=self._metadata,
                # One that may be sent only once is not sent before there is a connection.
                wait_for_ready=not call.idempotent,
            )
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
        return call.read(reply)

    async def _send(self, step: SendExamples[T], timeout: float | None) -> T:
        method = getattr(self._stubs[step.stub], step.rpc)
        stream = method(timeout=self._seconds(timeout) * step.count, metadata=self._metadata)
        try:
            written = await self._write(stream, step)
            try:
                return step.read(await stream)
            except grpc.RpcError as cause:
                error = error_from_rpc(cause)
                if not written and isinstance(error, Internal) and not error.request_id:
                    # grpc.aio's own word for a stream that ended under a write.
                    raise Unavailable("the stream broke while it was written") from cause
                raise error from cause
        finally:
            stream.cancel()

    async def _write(self, stream: Any, step: SendExamples[Any]) -> bool:
        """Writes all messages; False if the stream ended before, how, its reply tells."""
        while (message := await asyncio.to_thread(next, step.messages, None)) is not None:
            try:
                await stream.write(message)
            except (asyncio.InvalidStateError, grpc.RpcError):
                return False
            step.sent()
        await stream.done_writing()
        return True

    async def _watch(self, step: WatchTraining) -> None:
        method = getattr(self._stubs[step.stub], step.rpc)
        stream = method(step.request, timeout=step.timeout, metadata=self._metadata)
        try:
            async for reply in stream:
                step.seen(reply)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
        finally:
            stream.cancel()

    def _seconds(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else channel.check_timeout(timeout)

    async def _pages(
        self, page: Callable[[str], Call[Page[T]]], timeout: float | None
    ) -> AsyncIterator[T]:
        token = ""
        while True:
            part: Page[T] = await self._call(page(token), timeout)
            for item in part.items:
                yield item
            if not (token := part.next_token):
                return


@dataclass(frozen=True)
class _Done(Generic[T]):
    """A flow's result: StopIteration itself can pass through no coroutine and no thread."""

    result: T


def _resumed(resume: Callable[[], Step]) -> Step | _Done[Any]:
    try:
        return resume()
    except StopIteration as end:
        return _Done(end.value)
