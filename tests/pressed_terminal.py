"""A command in a terminal of its own, where Ctrl-C is a key that is pressed."""

import os
import subprocess
import sys
from types import TracebackType
from typing import Self

CTRL_C = b"\x03"

_SPAWN = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])) % 256)"


class Terminal:
    """Runs a command in a pseudo-terminal until the block ends, and reads what it shows."""

    def __init__(self, command: list[str], **variables: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SPAWN, *command],
            env=os.environ | {"COLUMNS": "200", "TERM": "xterm"} | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()  # its end hangs up the terminal
        self.process.communicate()

    def press(self, keys: bytes) -> None:
        """Types these keys."""
        assert self.process.stdin is not None
        self.process.stdin.write(keys)
        self.process.stdin.flush()

    def until(self, words: str) -> None:
        """Waits until these words are shown."""
        while words not in self.shown:
            assert self._read(), f"it ended without {words!r}:\n{self.shown}"

    def end(self) -> int:
        """Waits for the end of the command, and returns its exit status."""
        while self._read():
            pass
        return self.process.wait()

    def _read(self) -> bool:
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 65536)
        self.shown += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)
