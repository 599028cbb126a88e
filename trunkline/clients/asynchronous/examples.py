"""Stored examples."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from trunkline.clients.asynchronous.transport import AsyncTransport
from trunkline.errors import InvalidType
from trunkline.replies import examples as replies
from trunkline.rows.outcomes import asked, changed, failures
from trunkline.v1 import heads_pb2
from trunkline.values.examples import Example, Suggestions
from trunkline.values.foreign import type_of
from trunkline.values.outcomes import Changes, Forgotten
from trunkline.values.sequences import strings_in
from trunkline.wire.building import build
from trunkline.wire.names import head_name
from trunkline.wire.reading import read


class AsyncExamples(AsyncTransport):
    """The calls about stored examples."""

    async def list_examples(
        self,
        head: str,
        label: str | None = None,
        *,
        digests: Sequence[str] = (),
        external_ids: Sequence[str] = (),
        with_inputs: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[Example]:
        """Lists the stored examples (with this label), fetched page by page.

        With `digests`, at most 1,000, only those; the first 8 digits of each will do. With
        `external_ids`, at most 1,000, only those that are called so. `with_inputs` brings inputs
        that are kept, from the first of each page on, as many as fit into a message: ask for one
        that `has_input` and comes without it alone.
        """
        request = build(
            heads_pb2.ListExamplesRequest,
            head=str(head_name(head)),
            label=label,
            digests=strings_in(digests, "digests"),
            external_ids=strings_in(external_ids, "external_ids"),
            with_inputs=with_inputs,
        )
        async for page in self._pages(self._heads.ListExamples, request, timeout):
            for row in page.examples:
                yield replies.example(row)

    async def update_examples(
        self, head: str, labels: Mapping[str, str | None], *, timeout: float | None = None
    ) -> Changes:
        """Changes labels by digest; None takes a label away."""
        if not isinstance(labels, Mapping):
            raise InvalidType(
                f"labels must be a dict of digest to label, is {type_of(labels)}",
                field="labels",
                limit="{digest: label}",
                value=type(labels).__name__,
            )
        total = Changes(0, ())
        for first, part in asked(labels.items()):
            request = build(
                heads_pb2.UpdateExamplesRequest,
                head=str(head_name(head)),
                updates=[
                    build(heads_pb2.ExampleUpdate, digest=digest, label=label)
                    for digest, label in part
                ],
            )
            reply = await self._call(self._heads.UpdateExamples, request, timeout)
            now = Changes(reply.updated, failures(reply.errors, first), reply.corrections_replaced)
            total = changed(total, now)
        return total

    async def delete_examples(
        self, head: str, digests: Iterable[str], *, timeout: float | None = None
    ) -> Changes:
        """Removes examples from the head's next training."""
        total = Changes(0, ())
        for first, part in asked(strings_in(digests, "digests")):
            request = build(
                heads_pb2.DeleteExamplesRequest, head=str(head_name(head)), digests=part
            )
            reply = await self._call(self._heads.DeleteExamples, request, timeout)
            total = changed(total, Changes(reply.deleted, failures(reply.errors, first)))
        return total

    async def forget_examples(
        self, head: str, digests: Iterable[str], *, timeout: float | None = None
    ) -> Forgotten:
        """Forgets examples for good, with every version that knew one of them.

        Their embeddings, inputs and feedback are gone and a new version is fitted without them when
        this returns, which may need a longer `timeout`.
        """
        total = Forgotten(0, (), (), None, ())
        for first, part in asked(strings_in(digests, "digests")):
            request = build(
                heads_pb2.ForgetExamplesRequest, head=str(head_name(head)), digests=part
            )
            reply = await self._call(self._heads.ForgetExamples, request, timeout, idempotent=False)
            now = read(Forgotten, reply, failures=failures(reply.errors, first))
            total = Forgotten(
                forgotten=total.forgotten + now.forgotten,
                failures=total.failures + now.failures,
                deleted_versions=total.deleted_versions + now.deleted_versions,
                version=now.version,
                held_by=tuple(sorted({*total.held_by, *now.held_by})),
            )
        return total

    async def suggest_examples(
        self, head: str, count: int = 0, strategy: str = "", *, timeout: float | None = None
    ) -> Suggestions:
        """Lists the stored inputs without a label that are most worth one.

        `count` is at most 1,000, 0 lets the server choose; `strategy` is "margin", "diverse" or
        "random", or empty for the server's choice.
        """
        request = build(
            heads_pb2.SuggestExamplesRequest,
            head=str(head_name(head)),
            count=count,
            strategy=strategy,
        )
        return replies.suggestions(await self._call(self._heads.SuggestExamples, request, timeout))
