"""Endpoints of BentoML's supervisor that nobody but the server's user can reach.

The supervisor of ``bentoml serve`` (circus) takes commands on a socket and asks nobody who they
are. BentoML puts it on a TCP port of loopback, where every user of the machine could have programs
run as the server's user. Here it is a Unix socket in a folder of mode 0700.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from bentoml._internal.utils import circus

from service.errors import StartupError
from trunkline.connection.addresses import MAX_SOCKET_PATH_BYTES


def keep_private() -> None:
    """Gives such endpoints to every supervisor that BentoML makes in this process from now on."""
    for name in ("Arbiter", "ThreadedArbiter"):  # which BentoML looks up when it makes one
        setattr(circus, name, _private(getattr(circus, name)))


def _private(arbiter: Any) -> type[Any]:
    class PrivateArbiter(arbiter):  # type: ignore[misc]  # circus ships no types
        """A supervisor whose sockets lie in a folder of its own, which goes with it."""

        def __init__(
            self, watchers: list[Any], endpoint: str, pubsub_endpoint: str, **others: Any
        ) -> None:
            folder = Path(tempfile.mkdtemp(prefix="trunkline-"))
            _check_length(folder)
            super().__init__(
                watchers,
                endpoint=f"ipc://{folder}/control",
                pubsub_endpoint=f"ipc://{folder}/events",
                **others,
            )
            self.exit_stack.callback(shutil.rmtree, folder, ignore_errors=True)

    return PrivateArbiter


def _check_length(folder: Path) -> None:
    length = len(bytes(folder / "control"))
    if length > MAX_SOCKET_PATH_BYTES:
        folder.rmdir()
        raise StartupError(
            f"TMPDIR: a path of a Unix socket in it has {length} bytes, at most "
            f"{MAX_SOCKET_PATH_BYTES} are possible; name a shorter one",
            field="TMPDIR",
            limit=MAX_SOCKET_PATH_BYTES,
            value=length,
        )
