"""Uploading examples, so that no byte is sent twice and a broken upload continues where it stopped.

For every 5,000 rows: ask which digests the server has no embedding for, then stream the rows, with
the input's bytes where it is missing and the bare digest where it is known. The reply to a stream
acknowledges its rows, so there are several, of about two seconds each.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from trunkline.clients.async_waiting import in_thread, next_part, sleep
from trunkline.clients.asynchronous.transport import AsyncTransport
from trunkline.connection.retrying import StreamRetries
from trunkline.errors import TrunklineError
from trunkline.rows.stream_length import StreamLength
from trunkline.rows.upload_messages import Stream, in_sending_order, parts_of
from trunkline.rows.upload_rows import Item
from trunkline.rows.upload_tally import Tally
from trunkline.v1 import heads_pb2
from trunkline.values.examples import ExampleLike
from trunkline.values.outcomes import Upload, UploadProgress
from trunkline.values.sequences import strings_in
from trunkline.wire.building import build
from trunkline.wire.names import head_name


class AsyncUploads(AsyncTransport):
    """The calls that store examples."""

    async def find_missing(
        self, head: str, digests: Sequence[str], *, timeout: float | None = None
    ) -> set[str]:
        """Returns which of these digests (at most 5,000) have no stored embedding."""
        request = build(
            heads_pb2.FindMissingInputsRequest,
            head=str(head_name(head)),
            digests=strings_in(digests, "digests"),
        )
        reply = await self._call(self._heads.FindMissingInputs, request, timeout)
        return set(reply.missing)

    async def add_examples(
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
        return await self._upload(head, items, None, overwrite, timeout, ask=False)

    async def upload(
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
        the same call again. `timeout` is for one message of at most 128 rows.

        `on_progress` is told, every few seconds, which rows the server has acknowledged: they are
        stored, whatever happens next. It is called in between calls to the server, which wait for
        it; what it raises ends the upload.

        A label that uploads gave an input before says nothing new: where feedback has corrected it
        since, the correction stands, unless `overwrite` is true. Another label wins. The result
        tells both, and inputs that occur again: the last label counts.
        """
        return await self._upload(head, items, on_progress, overwrite, timeout, ask=True)

    async def _upload(
        self,
        head: str,
        items: Iterable[ExampleLike],
        on_progress: Callable[[UploadProgress], None] | None,
        overwrite: bool,
        timeout: float | None,
        *,
        ask: bool,
    ) -> Upload:
        """Runs `AddExamples`; with `ask`, `FindMissingInputs` goes before it."""
        name = str(head_name(head))
        empty = build(heads_pb2.AddExamplesRequest, head=name, overwrite=overwrite)
        tally = Tally(on_progress)
        parts = parts_of(items, tally)
        while part := await next_part(parts):
            rows, before = part
            forgotten = await self._store(empty, rows, before, tally, timeout, ask=ask)
            if forgotten:
                await self._store(empty, forgotten, before, tally, timeout, ask=False, whole=True)
        return tally.result()

    async def _store(
        self,
        empty: heads_pb2.AddExamplesRequest,
        items: list[Item],
        given: Mapping[str, str],
        tally: Tally,
        timeout: float | None,
        *,
        ask: bool,
        whole: bool = False,
    ) -> list[Item]:
        """Stores the items. Gives back those whose digest the server does not know.

        It has forgotten it meanwhile, or an earlier row with the same bytes was refused.

        Args:
            empty: the request, but for its examples.
            items: a part of the upload.
            given: labels by digest that parts before it gave.
            tally: counts what became of them.
            timeout: seconds for one message.
            ask: whether to ask first what the server knows.
            whole: whether rows that repeat an input have its bytes, too, so that none is given
                back.
        """
        retries, length = StreamRetries(), StreamLength()
        given = dict(given)
        unknown: list[Item] = []
        fewest = len(items) + 1
        while items:
            digests = list(dict.fromkeys(item.digest for item in items))
            missing = set(digests)
            if ask:
                missing = await self.find_missing(empty.head, digests, timeout=timeout)
            if len(missing) < fewest:
                fewest = len(missing)
                retries.reset()
            parts = await in_thread(in_sending_order, items, missing, whole)
            while parts:
                stream, started = Stream(length.cut(parts), tally), time.monotonic()
                seconds = self._seconds(timeout) * len(stream.parts)
                try:
                    reply = await self._send(
                        self._heads.AddExamples,
                        empty,
                        stream.messages(empty),
                        stream.sent,
                        seconds,
                    )
                except TrunklineError as error:
                    tally.broken(stream.done)
                    await sleep(retries.pause(error))
                    break
                unknown += await in_thread(stream.answered, reply, given)
                length.took(stream.parts, time.monotonic() - started)
                parts = parts[len(stream.parts) :]
                retries.reset()
                tally.report(parts)
            items = [item for part in parts for item in part]
        return unknown
