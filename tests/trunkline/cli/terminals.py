"""The command line on a terminal: in a process on a pseudo-terminal, or as far as it asks one."""

import io
import os
import subprocess
import sys
from types import TracebackType
from typing import Self

END_SECONDS = 60  # a command that has not ended by then hangs

_PROGRAM = """
import fcntl, runpy, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C reaches who has the terminal
runpy.run_module("trunkline", run_name="__main__")
"""


class Terminal:
    """`trunkline` on a pseudo-terminal, which a test reads and types at as a person would."""

    def __init__(self, server: str, *arguments: object) -> None:
        self._ours: int | None
        self._ours, theirs = os.openpty()
        self._unread = ""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"TRUNKLINE_SERVER": server, "TERM": "xterm", "COLUMNS": "200"},
            start_new_session=True,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._close()

    def expect(self, words: str) -> str:
        """Reads up to the words; returns what came before them."""
        while words not in self._unread:
            part = self._read()
            assert part, f"the command ended without {words!r}: {self._unread}"
            self._unread += part
        before, _, self._unread = self._unread.partition(words)
        return before

    def type(self, keys: str) -> None:
        """Types the keys, after a prompt has been read."""
        self.expect("> ")
        assert self._ours is not None
        os.write(self._ours, keys.encode())

    def end(self) -> tuple[int, str]:
        """Returns the exit status, and what was not read yet."""
        while part := self._read():
            self._unread += part
        return self._process.wait(END_SECONDS), self._unread

    def hang_up(self) -> None:
        """Closes the terminal, and waits until the command has ended."""
        self._close()
        self._process.wait(END_SECONDS)

    def _close(self) -> None:
        if self._ours is not None:
            os.close(self._ours)
            self._ours = None

    def _read(self) -> str:
        assert self._ours is not None
        try:
            return os.read(self._ours, 65_536).decode()
        except OSError:  # nobody is at the other end any more
            return ""


class Typed(io.BytesIO):
    """Answers that come from a terminal, as far as a command can tell without being on one."""

    def __init__(self, answers: str) -> None:
        super().__init__(answers.encode())

    def isatty(self) -> bool:
        return True
