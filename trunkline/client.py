"""The client for programs without an event loop."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, TypeVar

import grpc

from trunkline import calls, channel, flows
from trunkline.calls import Call, Page, Pause, SendExamples, WatchTraining
from trunkline.errors import DeadlineExceeded, Unavailable
from trunkline.flows import Flow, Step
from trunkline.inputs import InputLike
from trunkline.retrying import Attempts
from trunkline.status import error_from_rpc
from trunkline.uploading import upload
from trunkline.v1 import heads_pb2
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


class Client:
    """A connection to a Trunkline server, safe to share between threads.

    `address` is `HOST:PORT` or `unix:PATH`. Every call has a deadline: `timeout` seconds, which
    each method lets you change. A server that is away is waited for until then. Heads are named
    `acme/defects`, tenants `acme`; their full names do as well.

    Every method raises an exception of the tree in `trunkline.errors`.
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
        """Whether the server answers and serves (all of it, or one gRPC service); never waits."""
        call = calls.ready(service)
        try:
            return self._once(call, self._seconds(timeout))
        except (Unavailable, DeadlineExceeded):
            return False

    def backbones(self, *, timeout: float | None = None) -> list[Backbone]:
        """The backbones that are loaded."""
        return self._call(calls.list_backbones(), timeout)

    def embed(
        self,
        tenant: str,
        inputs: Iterable[InputLike],
        backbone: str = "",
        *,
        timeout: float | None = None,
    ) -> list[Embedding | RowFailure]:
        """The embedding of each input, in order, or why that row failed.

        Without `backbone`, the default of the inputs' modality makes them.
        """
        return self._run(flows.embed(tenant, inputs, backbone), timeout)

    def create_head(
        self,
        head: str,
        backbone: str,
        spec: HeadSpec | None = None,
        *,
        keep_inputs: bool = False,
        timeout: float | None = None,
    ) -> Head:
        """Makes a head on a backbone. Raises `AlreadyExists` if the name is taken."""
        return self._call(calls.create_head(head, backbone, spec, keep_inputs), timeout)

    def get_head(self, head: str, *, timeout: float | None = None) -> Head:
        """The head. Raises `NotFound`."""
        return self._call(calls.get_head(head), timeout)

    def list_heads(self, tenant: str, *, timeout: float | None = None) -> Iterator[Head]:
        """All heads of a tenant, fetched page by page."""
        return self._pages(lambda token: calls.list_heads(tenant, token), timeout)

    def delete_head(self, head: str, *, timeout: float | None = None) -> None:
        """Deletes a head with its examples, versions and feedback."""
        self._call(calls.delete_head(head), timeout)

    def find_missing(
        self, head: str, digests: Sequence[str], *, timeout: float | None = None
    ) -> set[str]:
        """Which of these digests (at most 5,000) have no stored embedding."""
        return self._call(calls.find_missing(head, digests), timeout)

    def add_examples(
        self,
        head: str,
        items: Iterable[tuple[InputLike, str | None]],
        *,
        timeout: float | None = None,
    ) -> Upload:
        """Stores (input, label) pairs right away; label None for one that is not known yet."""
        return self._run(upload(head, items, ask=False, on_progress=None), timeout)

    def upload(
        self,
        head: str,
        items: Iterable[tuple[InputLike, str | None]],
        on_progress: Callable[[UploadProgress], None] | None = None,
        *,
        timeout: float | None = None,
    ) -> Upload:
        """Stores (input, label) pairs, however many, and sends no byte the server knows.

        Items are read as they are needed. An upload that was interrupted is continued by making
        the same call again. `timeout` is for one message of at most 128 rows. `on_progress` is
        called in a thread of the client's.
        """
        return self._run(upload(head, items, ask=True, on_progress=on_progress), timeout)

    def list_examples(
        self, head: str, label: str | None = None, *, timeout: float | None = None
    ) -> Iterator[Example]:
        """The stored examples (with this label), fetched page by page."""
        return self._pages(lambda token: calls.list_examples(head, label, token), timeout)

    def update_examples(
        self, head: str, labels: Mapping[str, str | None], *, timeout: float | None = None
    ) -> Changes:
        """Changes labels by digest; None takes a label away."""
        return self._run(flows.update_examples(head, labels), timeout)

    def delete_examples(
        self, head: str, digests: Iterable[str], *, timeout: float | None = None
    ) -> Changes:
        """Removes examples from the head's next training."""
        return self._run(flows.delete_examples(head, digests), timeout)

    def train(
        self,
        head: str,
        spec: HeadSpec | None = None,
        *,
        activate: bool = True,
        on_progress: Callable[[Training], None] | None = None,
        timeout: float | None = None,
    ) -> Training:
        """Trains a version on the stored examples, and waits for it.

        Joins a training that is running already. `spec` takes the place of the head's own for this
        once. `timeout` (seconds; none by default) ends the waiting, not the training. Raises the
        training's own error if it failed, and `Cancelled` if somebody cancelled it.
        """
        return self._run(flows.train(head, spec, activate, on_progress, timeout), None)

    def get_training(self, name: str, *, timeout: float | None = None) -> Training:
        """A training by its full name."""
        return self._call(calls.get_training(name), timeout)

    def cancel_training(self, name: str, *, timeout: float | None = None) -> Training:
        """Cancels a training by its full name; one that has ended stays as it is."""
        return self._call(calls.cancel_training(name), timeout)

    def predict(
        self,
        head: str,
        inputs: Iterable[InputLike],
        top_k: int = 0,
        version: int | None = None,
        *,
        timeout: float | None = None,
    ) -> list[Prediction | RowFailure]:
        """The prediction for each input, in order, or why that row failed.

        `top_k` bounds the classes per row (0 for all); `version` None is the active one.
        """
        return self._run(flows.predict(head, inputs, top_k, version), timeout)

    def feedback(
        self,
        head: str,
        items: Iterable[tuple[InputLike, str]],
        *,
        timeout: float | None = None,
    ) -> list[Receipt | RowFailure]:
        """Stores the right labels of (input, label) pairs durably: a receipt or a failure each."""
        return self._run(flows.feedback(head, items), timeout)

    def import_head(
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
        """Makes a version from weights trained elsewhere, and the head if there is none.

        `safetensors` is a file with "weight" [classes, dim] and "bias" [classes]; labels may be in
        its metadata, and so may the fingerprint, which else is taken from the loaded backbone.
        """
        flow = flows.import_head(head, safetensors, backbone, fingerprint, labels, activate)
        return self._run(flow, timeout)

    def export_head(
        self, head: str, version: int | None = None, *, timeout: float | None = None
    ) -> Export:
        """A version (the active one by default) with its weights."""
        return self._call(calls.export_head(head, version), timeout)

    def versions(self, head: str, *, timeout: float | None = None) -> Iterator[Version]:
        """All versions, newest first, fetched page by page."""
        return self._pages(lambda token: calls.list_versions(head, token), timeout)

    def activate(self, head: str, version: int, *, timeout: float | None = None) -> Head:
        """Makes a version the one that answers."""
        return self._call(calls.activate(head, version), timeout)

    def report(
        self, head: str, version: int | None = None, *, timeout: float | None = None
    ) -> Report:
        """The report of a version (the active one by default)."""
        return self._call(calls.report(head, version), timeout)

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
        attempts = Attempts(self._seconds(timeout), idempotent=call.idempotent)
        while True:
            try:
                return self._once(call, attempts.remaining)
            except Unavailable as error:
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
            raise error_from_rpc(error) from error
        return call.read(reply)

    def _send(self, step: SendExamples[T], timeout: float | None) -> T:
        failures: list[Exception] = []

        def messages() -> Iterator[heads_pb2.AddExamplesRequest]:
            # Runs in a thread of grpc's, which would only log what is raised in it.
            try:
                for message in step.messages:
                    yield message
                    step.sent()
            except Exception as error:
                failures.append(error)

        method = getattr(self._stubs[step.stub], step.rpc)
        seconds = self._seconds(timeout) * step.count
        try:
            reply = method(messages(), timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from error
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
            raise error_from_rpc(error) from error
        finally:
            stream.cancel()

    def _seconds(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else channel.check_timeout(timeout)

    def _pages(self, page: Callable[[str], Call[Page[T]]], timeout: float | None) -> Iterator[T]:
        token = ""
        while True:
            part: Page[T] = self._call(page(token), timeout)
            yield from part.items
            if not (token := part.next_token):
                return
