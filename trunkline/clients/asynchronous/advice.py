"""Asking whether transfer pays: labelled inputs are streamed, and nothing is stored."""

from collections.abc import Callable, Iterable, Sequence

from trunkline.clients.async_waiting import in_thread, sleep
from trunkline.clients.asynchronous.transport import AsyncTransport
from trunkline.connection.retrying import StreamRetries
from trunkline.errors import TrunklineError
from trunkline.rows.labelled_rows import Labelled, LabelledRows
from trunkline.v1 import advice_pb2
from trunkline.values.advice import Advice
from trunkline.values.outcomes import UploadProgress
from trunkline.values.sequences import strings_in
from trunkline.wire.building import build
from trunkline.wire.names import tenant_name

# What embedding and comparing may take after all is sent; the server has a limit of its own.
_WORK_SECONDS = 3600.0


class AsyncAdvice(AsyncTransport):
    """The call for advice."""

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
        """Says whether transfer pays for (input, label) pairs, all images or all texts.

        Direct training on them, a head on each backbone that takes them (or on those named), and
        always answering the most frequent label are compared; nothing is stored. Of many examples
        the server looks at a sample, which `seed` decides. `timeout` is for one message of at most
        128 rows; embedding and comparing may take minutes more. `on_progress` is told
        what was sent, as nothing is acknowledged before the end. It is called
        on the event loop.
        """
        request = build(
            advice_pb2.AdviseRequest,
            parent=str(tenant_name(tenant)),
            backbones=strings_in(backbones, "backbones"),
            seed=seed,
        )
        rows = await in_thread(LabelledRows, items)
        seconds = self._seconds(timeout) * (len(rows.parts) + 1) + _WORK_SECONDS
        retries = StreamRetries()
        while True:
            try:
                # One that breaks is sent once more from its beginning.
                messages, sent = rows.messages(request), rows.sent(on_progress)
                reply = await self._send(self._advice.Advise, request, messages, sent, seconds)
            except TrunklineError as error:
                await sleep(retries.pause(error))
            else:
                return rows.advice(reply)
