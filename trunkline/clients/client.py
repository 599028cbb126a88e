"""The client for programs without an event loop."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from trunkline import calls
from trunkline.calls import examples as example_calls
from trunkline.calls import heads as head_calls
from trunkline.clients.transport import Transport
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
from trunkline.values.inputs import InputLike
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


class Client(Transport):
    """A connection to a Trunkline server, safe to share between threads.

    `address` is `HOST:PORT` or `unix:PATH`. Every call has a deadline: `timeout` seconds, which
    each method lets you change. A server that is away is waited for until then. Heads are named
    `acme/defects`, tenants `acme`; their full names do as well.

    Every method raises an exception of the tree in `trunkline.errors`.
    """

    def backbones(self, *, timeout: float | None = None) -> list[Backbone]:
        """Lists the backbones that are loaded."""
        return self._call(calls.list_backbones(), timeout)

    def load_backbone(self, name: str, *, timeout: float | None = None) -> Backbone:
        """Loads a backbone and warms it up. Only from the server's own machine.

        The first time it may have to be fetched and exported, for which `timeout` is ten minutes at
        least unless it is given.
        """
        return self._call(calls.load_backbone(name), timeout)

    def unload_backbone(self, name: str, *, timeout: float | None = None) -> list[Backbone]:
        """Gives a backbone's memory back, after what is under way. Returns what is still loaded.

        Only from the server's own machine.
        """
        return self._call(calls.unload_backbone(name), timeout)

    def embed(
        self,
        tenant: str,
        inputs: Iterable[InputLike],
        backbone: str = "",
        *,
        timeout: float | None = None,
    ) -> list[Embedding | RowFailure]:
        """Embeds each input; returns, in order, the embedding or why that row failed.

        Without `backbone`, the default of the inputs' modality makes them.
        """
        return self._run(row_flows.embed(tenant, inputs, backbone), timeout)

    def advise(
        self,
        tenant: str,
        items: Iterable[Labelled],
        backbones: Sequence[str] = (),
        *,
        seed: int = 0,
        on_progress: Callable[[UploadProgress], None] | None = None,
        timeout: float | None = None,
    ) -> Advice:
        """Says whether transfer pays for (input, label) pairs, all images or all texts.

        Direct training on them, a head on each backbone that takes them (or on those named), and
        always answering the most frequent label are compared; nothing is stored. Of many examples
        the server looks at a sample, which `seed` decides. `timeout` is for one message of at most
        128 rows; embedding and comparing may take minutes more. `on_progress` is called in a
        thread of the client's.
        """
        return self._run(advise(tenant, items, backbones, seed, on_progress), timeout)

    def create_head(
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
        """Makes a head on a backbone. Raises `AlreadyExists` if the name is taken.

        `policy` ("gated" by default) says what feedback does to predictions; `allow_new_labels`
        whether feedback may bring labels that the head does not have yet.
        """
        call = head_calls.create_head(head, backbone, spec, keep_inputs, policy, allow_new_labels)
        return self._call(call, timeout)

    def update_head(
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
        return self._call(call, timeout)

    def get_head(self, head: str, *, timeout: float | None = None) -> Head:
        """Returns the head. Raises `NotFound`."""
        return self._call(head_calls.get_head(head), timeout)

    def list_heads(self, tenant: str, *, timeout: float | None = None) -> Iterator[Head]:
        """Lists all heads of a tenant, fetched page by page."""
        return self._pages(lambda token: head_calls.list_heads(tenant, token), timeout)

    def delete_head(self, head: str, *, timeout: float | None = None) -> None:
        """Deletes a head with its examples, versions and feedback."""
        self._call(head_calls.delete_head(head), timeout)

    def find_missing(
        self, head: str, digests: Sequence[str], *, timeout: float | None = None
    ) -> set[str]:
        """Returns which of these digests (at most 5,000) have no stored embedding."""
        return self._call(example_calls.find_missing(head, digests), timeout)

    def add_examples(
        self,
        head: str,
        items: Iterable[ExampleLike],
        *,
        overwrite: bool = False,
        timeout: float | None = None,
    ) -> Upload:
        """Stores examples right away: `NewExample`s or (input, label) pairs.

        The label is None for one that is not known yet.
        """
        return self._run(
            upload(head, items, ask=False, overwrite=overwrite, on_progress=None), timeout
        )

    def upload(
        self,
        head: str,
        items: Iterable[ExampleLike],
        on_progress: Callable[[UploadProgress], None] | None = None,
        *,
        overwrite: bool = False,
        timeout: float | None = None,
    ) -> Upload:
        """Stores examples, however many, and sends no byte the server knows.

        Items are read as they are needed. An upload that was interrupted is continued by making
        the same call again. `timeout` is for one message of at most 128 rows. `on_progress` is
        called in a thread of the client's.

        A label that uploads gave an input before says nothing new: where feedback has corrected it
        since, the correction stands, unless `overwrite` is true. Another label wins. The result
        tells both, and inputs that occur again: the last label counts.
        """
        return self._run(
            upload(head, items, ask=True, overwrite=overwrite, on_progress=on_progress), timeout
        )

    def list_examples(
        self, head: str, label: str | None = None, *, timeout: float | None = None
    ) -> Iterator[Example]:
        """Lists the stored examples (with this label), fetched page by page."""
        return self._pages(lambda token: example_calls.list_examples(head, label, token), timeout)

    def update_examples(
        self, head: str, labels: Mapping[str, str | None], *, timeout: float | None = None
    ) -> Changes:
        """Changes labels by digest; None takes a label away."""
        return self._run(row_flows.update_examples(head, labels), timeout)

    def delete_examples(
        self, head: str, digests: Iterable[str], *, timeout: float | None = None
    ) -> Changes:
        """Removes examples from the head's next training."""
        return self._run(row_flows.delete_examples(head, digests), timeout)

    def forget_examples(
        self, head: str, digests: Iterable[str], *, timeout: float | None = None
    ) -> Forgotten:
        """Forgets examples for good, with every version that knew one of them.

        Their embeddings, inputs and feedback are gone and a new version is fitted without them when
        this returns, which may need a longer `timeout`.
        """
        return self._run(row_flows.forget_examples(head, digests), timeout)

    def suggest_examples(
        self, head: str, count: int = 0, strategy: str = "", *, timeout: float | None = None
    ) -> Suggestions:
        """Lists the stored inputs without a label that are most worth one.

        `count` is at most 1,000, 0 lets the server choose; `strategy` is "margin", "diverse" or
        "random", or empty for the server's choice.
        """
        return self._call(example_calls.suggest_examples(head, count, strategy), timeout)

    def train(
        self,
        head: str,
        spec: HeadSpec | None = None,
        *,
        activate: bool | None = None,
        backbone: str | None = None,
        on_progress: Callable[[Training], None] | None = None,
        timeout: float | None = None,
    ) -> Training:
        """Trains a version on the stored examples, and waits for it.

        Joins a training that is running already. `spec` takes the place of the head's own for this
        once. The version answers from then on, unless `activate` is false, or is None and it has no
        estimate and would replace one that has: `activated` and `inactive_reason` of the result
        tell. A `backbone` moves the head to that one, or to the new fingerprint of its own: kept
        inputs are embedded anew first. `timeout` (seconds; none by default) ends the waiting, not
        the training. Raises the training's own error if it failed, and `Cancelled` if somebody
        cancelled it.
        """
        return self._run(train(head, spec, activate, backbone, on_progress, timeout), None)

    def get_training(self, name: str, *, timeout: float | None = None) -> Training:
        """Returns a training by its full name."""
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
        conformal_level: float | None = None,
        average_views: int | None = None,
        timeout: float | None = None,
    ) -> list[Prediction | RowFailure]:
        """Classifies each input; returns, in order, the prediction or why that row failed.

        `top_k` bounds the classes per row (0 for all); `version` None is the active one. With a
        `conformal_level` above 0 and below 1 every row has a set of classes, too, which holds the
        right one with that probability. With `average_views`, so many views of each image (at most
        32) are looked at, too, and the probabilities averaged; 0 is for none, None for as many as
        the head's own spec says.
        """
        flow = row_flows.predict(head, inputs, top_k, version, conformal_level, average_views)
        return self._run(flow, timeout)

    def feedback(
        self,
        head: str,
        items: Iterable[tuple[InputLike, str]],
        *,
        timeout: float | None = None,
    ) -> list[Receipt | RowFailure]:
        """Stores the right labels of (input, label) pairs durably: a receipt or a failure each."""
        return self._run(row_flows.feedback(head, items), timeout)

    def list_feedback(
        self, head: str, state: FeedbackState | None = None, *, timeout: float | None = None
    ) -> Iterator[FeedbackRecord]:
        """Lists the stored feedback (in this state), oldest first, fetched page by page."""
        return self._pages(lambda token: example_calls.list_feedback(head, state, token), timeout)

    def release_feedback(
        self, head: str, ids: Iterable[str] | None, *, timeout: float | None = None
    ) -> Changes:
        """Lets quarantined feedback, None for all of it, count again in trainings to come."""
        return self._run(row_flows.release_feedback(head, ids), timeout)

    def promote_live_copy(self, head: str, *, timeout: float | None = None) -> Promoted:
        """Makes a version of the live copy and activates it, whatever the policy."""
        return self._call(head_calls.promote_live_copy(head), timeout)

    def drop_live_copy(self, head: str, *, timeout: float | None = None) -> Dropped:
        """Drops the live copy; the feedback behind it is quarantined."""
        return self._call(head_calls.drop_live_copy(head), timeout)

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
        flow = row_flows.import_head(head, safetensors, backbone, fingerprint, labels, activate)
        return self._run(flow, timeout)

    def export_head(
        self,
        head: str,
        version: int | None = None,
        *,
        onnx: bool = False,
        timeout: float | None = None,
    ) -> Export:
        """Returns a version (by default the active one) with weights, and as ONNX if asked for."""
        return self._call(head_calls.export_head(head, version, onnx), timeout)

    def get_version(
        self, head: str, version: int | None = None, *, timeout: float | None = None
    ) -> Version:
        """Returns a version (the active one by default)."""
        return self._call(head_calls.get_version(head, version), timeout)

    def versions(self, head: str, *, timeout: float | None = None) -> Iterator[Version]:
        """Lists all versions, newest first, fetched page by page."""
        return self._pages(lambda token: head_calls.list_versions(head, token), timeout)

    def activate(self, head: str, version: int, *, timeout: float | None = None) -> Head:
        """Makes a version the one that answers."""
        return self._call(head_calls.activate(head, version), timeout)

    def report(
        self, head: str, version: int | None = None, *, timeout: float | None = None
    ) -> Report:
        """Returns the report of a version (the active one by default)."""
        return self._call(head_calls.report(head, version), timeout)
