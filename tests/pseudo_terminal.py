"""A pseudo-terminal for what a command shows to a person alone."""

from __future__ import annotations

import contextlib
import os
import threading


class PseudoTerminal:
    """A pseudo-terminal to write to; `text` is all that was written, once it is closed."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        self.stream = os.fdopen(slave, "w")
        self.text = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def close(self) -> str:
        self.stream.close()
        self._reader.join()
        os.close(self._master)
        return self.text

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # the end of a terminal that nobody has open
            while data := os.read(self._master, 65536):
                self.text += data.decode()
