"""The transport of the blocking client: calls, streams and flows over gRPC."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from trunkline import calls
from trunkline.calls import Call, Page, Pause, SendExamples, WatchTraining
from trunkline.connection import channel
from trunkline.connection.addresses import DEFAULT_ADDRESS, check_address
from trunkline.connection.retrying import Attempts
from trunkline.connection.status import error_from_rpc
from trunkline.errors import DeadlineExceeded, InvalidArgument, Unavailable
from trunkline.flows.rows import Flow, Step

T = TypeVar("T")


class Transport:
    """A connection to a server, and how steps are run over it."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        token: str | None = None,
        timeout: float = channel.DEFAULT_TIMEOUT,
    ) -> None:
        self.address = check_address(address)
        self.timeout = channel.check_timeout(timeout)
        self._metadata = channel.call_metadata(token)
        self._channel = grpc.insecure_channel(address, options=channel.channel_options(address))
        self._stubs = {stub: stub(self._channel) for stub in calls.STUBS}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        self._channel.close()

    def ready(self, service: str = "", *, timeout: float | None = None) -> bool:
        """Returns whether the server (or one gRPC service) answers and serves; never waits."""
        call = calls.ready(service)
        try:
            return self._once(call, self._seconds(timeout))
        except (Unavailable, DeadlineExceeded, InvalidArgument):
            return False

    def _run(self, flow: Flow[T], timeout: float | None) -> T:
        """Runs a flow to its end."""
        try:
            step = next(flow)
            while True:
                try:
                    outcome = self._step(step, timeout)
                except Exception as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    def _step(self, step: Step, timeout: float | None) -> Any:
        match step:
            case Call():
                return self._call(step, timeout)
            case SendExamples():
                return self._send(step, timeout)
            case WatchTraining():
                return self._watch(step)
            case Pause():
                return time.sleep(step.seconds)

    def _call(self, call: Call[T], timeout: float | None) -> T:
        seconds = self._seconds(timeout, at_least=call.at_least)
        if not call.idempotent:
            # It waits for a connection without a word; this says what it waits for.
            self._attempt(calls.ready(""), Attempts(seconds, idempotent=True))
        return self._attempt(call, Attempts(seconds, idempotent=call.idempotent))

    def _attempt(self, call: Call[T], attempts: Attempts) -> T:
        while True:
            try:
                return self._once(call, attempts.remaining)
            except (Unavailable, DeadlineExceeded) as error:
                time.sleep(attempts.pause(error))

    def _once(self, call: Call[T], timeout: float) -> T:
        method = getattr(self._stubs[call.stub], call.rpc)
        try:
            reply = method(
                call.request,
                timeout=timeout,
                metadata=self._metadata,
                # One that may be sent only once is not sent before there is a connection.
                wait_for_ready=not call.idempotent,
            )
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.address) from error
        return call.read(reply)

    def _send(self, step: SendExamples[T], timeout: float | None) -> T:
        failures: list[Exception] = []

        def messages() -> Iterator[Message]:
            # Runs in a thread of grpc's, which would only log what is raised in it.
            try:
                for message in step.messages:
                    yield message
                    step.sent()
            except Exception as error:
                failures.append(error)

        method = getattr(self._stubs[step.stub], step.rpc)
        seconds = self._seconds(timeout) * step.count + step.work
        try:
            reply = method(messages(), timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            # A failure here ends the stream, of which the server then complains: a consequence.
            raise (failures[0] if failures else error_from_rpc(error, self.address)) from error
        if failures:
            raise failures[0]
        return step.read(reply)

    def _watch(self, step: WatchTraining) -> None:
        method = getattr(self._stubs[step.stub], step.rpc)
        stream = method(step.request, timeout=step.timeout, metadata=self._metadata)
        try:
            for reply in stream:
                step.seen(reply)
        except grpc.RpcError as error:
            raise error_from_rpc(error, self.address) from error
        finally:
            stream.cancel()

    def _seconds(self, timeout: float | None, *, at_least: float = 0.0) -> float:
        if timeout is None:
            return max(self.timeout, at_least)
        return channel.check_timeout(timeout)

    def _pages(self, page: Callable[[str], Call[Page[T]]], timeout: float | None) -> Iterator[T]:
        token = ""
        while True:
            part: Page[T] = self._call(page(token), timeout)
            yield from part.items
            if not (token := part.next_token):
                return
