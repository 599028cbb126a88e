"""Stored examples."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from trunkline.clients.async_waiting import in_thread
from trunkline.clients.asynchronous.transport import AsyncTransport
from trunkline.errors import InvalidType
from trunkline.replies import examples as replies
from trunkline.rows.outcomes import asked, changed, failures
from trunkline.v1 import heads_pb2
from trunkline.values.examples import Example, FoundExamples, SimilarExamples, Suggestions
from trunkline.values.foreign import type_of
from trunkline.values.inputs import Input, InputLike, as_input
from trunkline.values.outcomes import Changes, Forgotten
from trunkline.values.sequences import strings_in
from trunkline.wire.building import build, metadata_message
from trunkline.wire.names import head_name
from trunkline.wire.reading import read

MAX_PAGE = 1000
"""Examples that the server gives at once."""


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

    async def search_examples(
        self,
        head: str,
        *,
        external_ids: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
        label: str | None = None,
        text: str = "",
        limit: int | None = 1000,
        with_inputs: bool = False,
        timeout: float | None = None,
    ) -> FoundExamples:
        """Finds the stored examples that have all that is given; `limit` None is for all of them.

        That is one of at most 1,000 `external_ids`, each pair of `metadata`, this `label`, and each
        word of `text`, in any order and any case, also within other words; what stands between
        double quotes is one. Only texts that the head keeps can be searched. `with_inputs` is as in
        `list_examples`.
        """
        request = build(
            heads_pb2.SearchExamplesRequest,
            head=str(head_name(head)),
            external_ids=strings_in(external_ids, "external_ids"),
            metadata=metadata_message(metadata),
            label=label,
            text=text,
            with_inputs=with_inputs,
        )
        found: list[Example] = []
        not_searched = 0
        while limit is None or len(found) < limit:
            request.page_size = MAX_PAGE if limit is None else min(MAX_PAGE, limit - len(found))
            reply = await self._call(self._heads.SearchExamples, request, timeout)
            found += map(replies.example, reply.examples)
            not_searched += reply.not_searched
            request.page_token = reply.next_page_token
            if not request.page_token:
                break
        return FoundExamples(tuple(found), bool(request.page_token), not_searched)

    async def find_similar(
        self,
        head: str,
        item: InputLike,
        count: int = 0,
        *,
        unlabelled: bool = False,
        with_inputs: bool = False,
        timeout: float | None = None,
    ) -> SimilarExamples:
        """Finds the labelled examples, or all with `unlabelled`, that are nearest to an input.

        It is a new one, or the `Digest` of an example, which is not among those that are found.
        `count` is at most 100, 0 for the server's choice. `with_inputs` is as in `list_examples`.

        Raises:
            OSError: the input is a file that cannot be read.
        """
        loaded = await in_thread(_loaded, item)  # it may be a file
        request = build(
            heads_pb2.FindSimilarRequest,
            head=str(head_name(head)),
            input=loaded.message(),
            count=count,
            unlabelled=unlabelled,
            with_inputs=with_inputs,
        )
        return replies.similar(await self._call(self._heads.FindSimilar, request, timeout))

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
        self,
        head: str,
        digests: Iterable[str] = (),
        *,
        external_ids: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Forgotten:
        """Forgets examples for good, with every version that knew one of them.

        In place of `digests`, all that `search_examples` finds by these `external_ids` and this
        `metadata` may be meant. Their embeddings, inputs and feedback are gone and a new version is
        fitted without them when this returns, which may need a longer `timeout`.
        """
        named, names = strings_in(digests, "digests"), strings_in(external_ids, "external_ids")
        total = Forgotten(0, (), (), None, ())
        # All that is found is one request.
        parts = [(0, named)] if names or metadata is not None else asked(named)
        for first, part in parts:
            request = build(
                heads_pb2.ForgetExamplesRequest,
                head=str(head_name(head)),
                digests=part,
                external_ids=names,
                metadata=metadata_message(metadata),
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


def _loaded(item: InputLike) -> Input:
    return as_input(item).load()
