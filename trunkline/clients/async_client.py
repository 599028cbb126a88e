"""The client for programs with an event loop."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

from trunkline import calls
from trunkline.calls import examples as example_calls
from trunkline.calls import heads as head_calls
from trunkline.clients.async_transport import AsyncTransport
from trunkline.flows import rows as row_flows
from trunkline.flows.advise import Labelled, advise
from trunkline.flows.train import train
from trunkline.flows.upload import upload
from trunkline.values.advice import Advice
from trunkline.values.examples import (
    Example,
    ExampleLike,
    FeedbackRecord,
    FeedbackState,
    Suggestions,
)
from trunkline.values.heads import Dropped, Export, Head, HeadSpec, Policy, Promoted, Version
from trunkline.values.inputs import InputLike, reads_file
from trunkline.values.outcomes import (
    Backbone,
    Changes,
    Embedding,
    Forgotten,
    Prediction,
    Receipt,
    RowFailure,
    Training,
    Upload,
    UploadProgress,
)
from trunkline.values.reports import Report
from trunkline.values.sequences import inputs_in, pairs_in


class AsyncClient(AsyncTransport):
    """A connection to a Trunkline server, for one event loop.

    The methods are those of `trunkline.Client`, where they are described in full. Files are read in
    a thread; `on_progress` functions are called on the event loop.
    """

    async def backbones(self, *, timeout: float | None = None) -> list[Backbone]:
        """Lists the backbones that are loaded."""
        return await self._call(calls.list_backbones(), timeout)

    async def load_backbone(self, name: str, *, timeout: float | None = None) -> Backbone:
        """Loads a backbone and warms it up. Only from the server's own machine."""
        return await self._call(calls.load_backbone(name), timeout)

    async def unload_backbone(self, name: str, *, timeout: float | None = None) -> list[Backbone]:
        """Gives a backbone's memory back. Returns what is still loaded."""
        return await self._call(calls.unload_backbone(name), timeout)

    async def embed(
        self,
        tenant: str,
        inputs: Iterable[InputLike],
        backbone: str = "",
        *,
        timeout: float | None = None,
    ) -> list[Embedding | RowFailure]:
        """Embeds each input; returns, in order, the embedding or why that row failed."""
        rows = list(inputs_in(inputs))
        flow = row_flows.embed(tenant, rows, backbone)
        return await self._run(flow, timeout, blocks=any(map(reads_file, rows)))

    async def advise(
        self,
        tenant: str,
        items: Iterable[Labelled],
        backbones: Sequence[str] = (),
        *,
        seed: int = 0,
        on_progress: Callable[[UploadProgress], None] | None = None,
        timeout: float | None = None,
    ) -> Advice:
        """Says whether transfer pays for (input, label) pairs, all images or all texts."""
        flow = advise(tenant, items, backbones, seed, on_progress)
        return await self._run(flow, timeout, blocks=True)

    async def create_head(
        self,
        head: str,
        backbone: str,
        spec: HeadSpec | None = None,
        *,
        keep_inputs: bool = False,
        policy: Policy | str | None = None,
        allow_new_labels: bool = False,
        timeout: float | None = None,
    ) -> Head:
        """Makes a head on a backbone. Raises `AlreadyExists` if the name is taken."""
        call = head_calls.create_head(head, backbone, spec, keep_inputs, policy, allow_new_labels)
        return await self._call(call, timeout)

    async def update_head(
        self,
        head: str,
        spec: HeadSpec | None = None,
        *,
        policy: Policy | str | None = None,
        allow_new_labels: bool | None = None,
        timeout: float | None = None,
    ) -> Head:
        """Changes a head's policy, or its spec for trainings to come; None leaves as it is."""
        call = head_calls.update_head(head, spec, policy, allow_new_labels)
        return await self._call(call, timeout)

    async def get_head(self, head: str, *, timeout: float | None = None) -> Head:
        """Returns the head. Raises `NotFound`."""
        return await self._call(head_calls.get_head(head), timeout)

    def list_heads(self, tenant: str, *, timeout: float | None = None) -> AsyncIterator[Head]:
        """Lists all heads of a tenant, fetched page by page."""
        return self._pages(lambda token: head_calls.list_heads(tenant, token), timeout)

    async def delete_head(self, head: str, *, timeout: float | None = None) -> None:
        """Deletes a head with its examples, versions and feedback."""
        await self._call(head_calls.delete_head(head), timeout)

    async def find_missing(
        self, head: str, digests: Sequence[str], *, timeout: float | None = None
    ) -> set[str]:
        """Returns which of these digests (at most 5,000) have no stored embedding."""
        return await self._call(example_calls.find_missing(head, digests), timeout)

    async def add_examples(
        self,
        head: str,
        items: Iterable[ExampleLike],
        *,
        overwrite: bool = False,
        timeout: float | None = None,
    ) -> Upload:
        """Stores examples right away: `NewExample`s or (input, label) pairs."""
        flow = upload(head, items, ask=False, overwrite=overwrite, on_progress=None)
        return await self._run(flow, timeout, blocks=True)

    async def upload(
        self,
        head: str,
        items: Iterable[ExampleLike],
        on_progress: Callable[[UploadProgress], None] | None = None,
        *,
        overwrite: bool = False,
        timeout: float | None = None,
    ) -> Upload:
        """Stores examples, however many, and sends no byte the server knows."""
        flow = upload(head, items, ask=True, overwrite=overwrite, on_progress=on_progress)
        return await self._run(flow, timeout, blocks=True)

    def list_examples(
        self, head: str, label: str | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[Example]:
        """Lists the stored examples (with this label), fetched page by page."""
        return self._pages(lambda token: example_calls.list_examples(head, label, token), timeout)

    async def update_examples(
        self, head: str, labels: Mapping[str, str | None], *, timeout: float | None = None
    ) -> Changes:
        """Changes labels by digest; None takes a label away."""
        return await self._run(row_flows.update_examples(head, labels), timeout)

    async def delete_examples(
        self, head: str, digests: Iterable[str], *, timeout: float | None = None
    ) -> Changes:
        """Removes examples from the head's next training."""
        return await self._run(row_flows.delete_examples(head, digests), timeout)

    async def forget_examples(
        self, head: str, digests: Iterable[str], *, timeout: float | None = None
    ) -> Forgotten:
        """Forgets examples for good, with every version that knew one of them."""
        return await self._run(row_flows.forget_examples(head, digests), timeout)

    async def suggest_examples(
        self, head: str, count: int = 0, strategy: str = "", *, timeout: float | None = None
    ) -> Suggestions:
        """Lists the stored inputs without a label that are most worth one."""
        return await self._call(example_calls.suggest_examples(head, count, strategy), timeout)

    async def train(
        self,
        head: str,
        spec: HeadSpec | None = None,
        *,
        activate: bool | None = None,
        backbone: str | None = None,
        on_progress: Callable[[Training], None] | None = None,
        timeout: float | None = None,
    ) -> Training:
        """Trains a version on the stored examples, and waits for it."""
        return await self._run(train(head, spec, activate, backbone, on_progress, timeout), None)

    async def get_training(self, name: str, *, timeout: float | None = None) -> Training:
        """Returns a training by its full name."""
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
        conformal_level: float | None = None,
        average_views: int | None = None,
        timeout: float | None = None,
    ) -> list[Prediction | RowFailure]:
        """Classifies each input; returns, in order, the prediction or why that row failed."""
        rows = list(inputs_in(inputs))
        flow = row_flows.predict(head, rows, top_k, version, conformal_level, average_views)
        return await self._run(flow, timeout, blocks=any(map(reads_file, rows)))

    async def feedback(
        self,
        head: str,
        items: Iterable[tuple[InputLike, str]],
        *,
        timeout: float | None = None,
    ) -> list[Receipt | RowFailure]:
        """Stores the right labels of (input, label) pairs durably: a receipt or a failure each."""
        pairs = list(pairs_in(items, "feedback"))
        blocks = any(reads_file(item) for item, _ in pairs)
        return await self._run(row_flows.feedback(head, pairs), timeout, blocks=blocks)

    def list_feedback(
        self, head: str, state: FeedbackState | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[FeedbackRecord]:
        """Lists the stored feedback (in this state), oldest first, fetched page by page."""
        return self._pages(lambda token: example_calls.list_feedback(head, state, token), timeout)

    async def release_feedback(
        self, head: str, ids: Iterable[str] | None, *, timeout: float | None = None
    ) -> Changes:
        """Lets quarantined feedback, None for all of it, count again in trainings to come."""
        return await self._run(row_flows.release_feedback(head, ids), timeout)

    async def promote_live_copy(self, head: str, *, timeout: float | None = None) -> Promoted:
        """Makes a version of the live copy and activates it, whatever the policy."""
        return await self._call(head_calls.promote_live_copy(head), timeout)

    async def drop_live_copy(self, head: str, *, timeout: float | None = None) -> Dropped:
        """Drops the live copy; the feedback behind it is quarantined."""
        return await self._call(head_calls.drop_live_copy(head), timeout)

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
        flow = row_flows.import_head(head, safetensors, backbone, fingerprint, labels, activate)
        return await self._run(flow, timeout)

    async def export_head(
        self,
        head: str,
        version: int | None = None,
        *,
        onnx: bool = False,
        timeout: float | None = None,
    ) -> Export:
        """Returns a version (by default the active one) with weights, and as ONNX if asked for."""
        return await self._call(head_calls.export_head(head, version, onnx), timeout)

    async def get_version(
        self, head: str, version: int | None = None, *, timeout: float | None = None
    ) -> Version:
        """Returns a version (the active one by default)."""
        return await self._call(head_calls.get_version(head, version), timeout)

    def versions(self, head: str, *, timeout: float | None = None) -> AsyncIterator[Version]:
        """Lists all versions, newest first, fetched page by page."""
        return self._pages(lambda token: head_calls.list_versions(head, token), timeout)

    async def activate(self, head: str, version: int, *, timeout: float | None = None) -> Head:
        """Makes a version the one that answers."""
        return await self._call(head_calls.activate(head, version), timeout)

    async def report(
        self, head: str, version: int | None = None, *, timeout: float | None = None
    ) -> Report:
        """Returns the report of a version (the active one by default)."""
        return await self._call(head_calls.report(head, version), timeout)
