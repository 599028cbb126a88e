"""Files of tails that servers have uploaded to an extraction server."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import NotFound, PreconditionFailed, QueueFull

RETRY_AFTER = 1.0


class Upload:
    """A file that is being uploaded."""

    def __init__(self, tails: UploadedTails) -> None:
        self._tails = tails
        self._chunks: list[bytes] = []
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """Adds the next bytes.

        Raises:
            PreconditionFailed: the file is larger than all the room there is.
            QueueFull: other uploads have the room now.
        """
        self._tails.make_room(len(chunk), self.size)
        self._chunks.append(chunk)
        self.size += len(chunk)

    def data(self) -> bytes:
        """Returns the whole file."""
        return b"".join(self._chunks)


class UploadedTails:
    """The files used most recently, in memory, bounded in bytes with those being uploaded."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    async def read(self, fingerprint: str) -> bytes:
        """Returns the file, which becomes the most recently used one.

        Raises:
            NotFound: it is not held, or not any more.
        """
        data = self._files.get(fingerprint)
        if data is None:
            raise NotFound(f"tail: {fingerprint[:64]} is not held", field="tail", value=fingerprint)
        self._files.move_to_end(fingerprint)
        return data

    @contextmanager
    def receive(self) -> Iterator[Upload]:
        """Gives an upload to be filled within the block; its bytes are free again after it."""
        upload = Upload(self)
        try:
            yield upload
        finally:
            self._bytes -= upload.size

    def keep(self, fingerprint: str, data: bytes) -> None:
        """Keeps a file, at the cost of the least recently used ones."""
        self._bytes += len(data) - len(self._files.pop(fingerprint, b""))
        self._files[fingerprint] = data
        self._shrink()

    def make_room(self, nbytes: int, taken: int) -> None:
        """Reserves bytes of an upload of which `taken` are there already."""
        if taken + nbytes > self._max_bytes:
            raise PreconditionFailed(
                f"tail: at most {self._max_bytes} bytes (held_tail_bytes), has more",
                field="tail",
                limit=self._max_bytes,
                value=taken + nbytes,
            )
        self._bytes += nbytes
        self._shrink()
        if self._bytes > self._max_bytes:
            self._bytes -= nbytes
            raise QueueFull(
                f"tails on their way: at most {self._max_bytes} bytes; try again later",
                field="tail",
                limit=self._max_bytes,
                value=self._bytes + nbytes,
                retry_after=RETRY_AFTER,
            )

    def _shrink(self) -> None:
        while self._bytes > self._max_bytes and self._files:
            _, dropped = self._files.popitem(last=False)
            self._bytes -= len(dropped)
