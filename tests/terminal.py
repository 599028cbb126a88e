"""The command line on a terminal: in a process on a pseudo-terminal, or as far as it asks one."""

import fcntl
import io
import json
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

CTRL_C = "\x03"
END_SECONDS = 60  # a command that has not ended by then hangs

_ATTACH = """
import fcntl, json, runpy, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C reaches who has the terminal
"""
_ONE = f"""{_ATTACH}
runpy.run_module("trunkline", run_name="__main__")
"""
_MANY = f"""{_ATTACH}
from trunkline.cli import main
for arguments in json.loads(sys.argv[1]):
    main(arguments, standalone_mode=False)
    print(end="\\x1e", flush=True)
"""


class Terminal:
    """`trunkline` on a pseudo-terminal, which a test reads and types at as a person would.

    `elsewhere` says which of `stdout` and `stderr` go where else, as `subprocess` takes it.
    `shown` is all that was read so far.
    """

    def __init__(
        self,
        server: str,
        *arguments: object,
        columns: int = 200,
        variables: dict[str, str] | None = None,
        program: str = _ONE,
        **elsewhere: int,
    ) -> None:
        self._ours: int | None
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))
        self.shown = ""
        self._expected = 0  # so much of it was expected already
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
        own = {"TRUNKLINE_SERVER": server, "TERM": "xterm"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdin=theirs,
            stdout=elsewhere.get("stdout", theirs),
            stderr=elsewhere.get("stderr", theirs),
            env=inherited | own | (variables or {}),
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
        with self.process:  # closes its pipes
            self.process.kill()
        self._close()

    def expect(self, words: str) -> str:
        """Reads up to the words; returns what came before them."""
        while (at := self.shown.find(words, self._expected)) < 0:
            assert self._read(), f"the command ended without {words!r}: {self.shown}"
        before = self.shown[self._expected : at]
        self._expected = at + len(words)
        return before

    def press(self, keys: str) -> None:
        """Types the keys at once."""
        assert self._ours is not None
        os.write(self._ours, keys.encode())

    def answer(self, keys: str) -> None:
        """Types the keys when the command waits for them after a prompt.

        The editor of lines notices a Ctrl-C that comes between the two with the next key only.
        """
        self.expect("> ")
        while self._is_running():
            os.sched_yield()
        self.press(keys)

    def end(self) -> tuple[int, str]:
        """Returns the exit status, and what was not expected yet."""
        while self._read():
            pass
        return self.process.wait(END_SECONDS), self.shown[self._expected :]

    def errors(self) -> str:
        """Returns what the command wrote on standard error, which is a pipe."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def _is_running(self) -> bool:
        """Whether the command's main thread is on a processor, or waits for one (Linux tells)."""
        state = Path(f"/proc/{self.process.pid}/stat")
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "R"

    def hang_up(self) -> None:
        """Closes the terminal, and waits until the command has ended."""
        self._close()
        self.process.wait(END_SECONDS)

    def _close(self) -> None:
        if self._ours is not None:
            os.close(self._ours)
            self._ours = None

    def _read(self) -> bool:
        assert self._ours is not None
        try:
            part = os.read(self._ours, 65_536).decode(errors="replace")
        except OSError:  # nobody is at the other end any more
            return False
        self.shown = (self.shown + part).replace("\r\n", "\n")
        return True


def in_terminal(
    server: str,
    commands: Sequence[Sequence[object]],
    columns: int = 200,
    *,
    with_errors: bool = False,
    variables: dict[str, str] | None = None,
) -> list[str]:
    """Runs commands one after the other in one process; returns what each prints.

    That is what it prints on standard output, and `with_errors` on standard error, too.
    """
    with Terminal(
        server,
        json.dumps([list(map(str, words)) for words in commands]),
        columns=columns,
        variables=variables,
        program=_MANY,
        **({} if with_errors else {"stderr": subprocess.PIPE}),
    ) as terminal:
        status, shown = terminal.end()
        words = shown if with_errors else terminal.errors()
        assert status == 0, words
    return shown.split("\x1e")[:-1]


class Typed(io.BytesIO):
    """Answers that come from a terminal, as far as a command can tell without being on one."""

    def __init__(self, answers: str) -> None:
        super().__init__(answers.encode())

    def isatty(self) -> bool:
        return True
