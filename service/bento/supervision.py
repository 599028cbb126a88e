"""BentoML's supervisor: where it listens, whom it may start, and no process that outlives it.

``bentoml serve`` starts a supervisor, which listens on the REST address and starts a worker;
``trunkline serve`` is one process that does both.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psutil
import uvicorn

from models import ModelError
from service.addresses import is_loopback
from service.config import ServerSettings
from service.errors import InvalidSettings, StartupError, StoreFailed
from service.logs import get_logger

log = get_logger(__name__)


class Address(NamedTuple):
    """Where REST listens."""

    host: str
    port: int


def rest_address(settings: ServerSettings) -> Address:
    """Returns where REST really listens: a supervisor may have been told another address.

    Raises:
        InvalidSettings: it is not loopback, and calls would need no key although nobody said
            ``insecure``.
    """
    if "--fd" not in sys.argv:
        return Address(settings.host, settings.rest_port)
    descriptor = os.dup(int(sys.argv[sys.argv.index("--fd") + 1]))
    with socket.socket(fileno=descriptor) as listener:
        host, port = listener.getsockname()[:2]
    if settings.loopback_only and not is_loopback(host):
        raise InvalidSettings(
            f"host: {host} is not loopback, and keys are not required; set "
            "TRUNKLINE_AUTH=required, or TRUNKLINE_INSECURE=true if anybody is meant",
            field="host",
            limit="loopback",
            value=host,
        )
    return Address(host, port)


def check_workers(settings: ServerSettings) -> None:
    """Refuses to be one of several workers of BentoML's, which know nothing of one another.

    Raises:
        InvalidSettings: several are meant, or this is the second.
    """
    if supervised() and settings.workers > 1:
        raise InvalidSettings.at(
            "workers",
            "at most {limit} under `bentoml serve`, is {value}; `trunkline serve` starts several",
            1,
            settings.workers,
        )
    if "--worker-id" in sys.argv:
        worker = int(sys.argv[sys.argv.index("--worker-id") + 1])
        if worker > 1:
            raise InvalidSettings.at(
                "workers",
                "at most {limit} under `bentoml serve`, this would be worker {value}",
                1,
                worker,
            )


def check_tls() -> None:
    """Refuses a certificate of BentoML's options, with which REST alone would be encrypted.

    Raises:
        InvalidSettings: there is one.
    """
    option = "--ssl-certfile"
    if option in sys.argv:
        raise InvalidSettings(
            f"{option}: is not taken; set TRUNKLINE_TLS_CERT and TRUNKLINE_TLS_KEY, which encrypt "
            "gRPC, too",
            field=option,
        )


def exit_with_parent() -> None:
    """Ends this worker when its supervisor dies, by whatever signal."""
    if not supervised():
        return
    parent = os.getppid()

    def watch() -> None:
        _wait_for_end(parent)
        log.error("the supervisor is gone; so is this worker")
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _wait_for_end(pid: int) -> None:
    if hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        select.select([descriptor], [], [])  # readable once the process has ended
    else:
        psutil.Process(pid).wait()


def replace_connections(connection_class: Any, trusted_proxies: Iterable[str]) -> None:
    """Has a worker of BentoML's make its connections with this, on asyncio's own loop.

    Its options name neither. With "auto" uvicorn would take uvloop where that is installed, on
    which a connection of TCP whose reading was paused never does the handshake of TLS.

    Args:
        trusted_proxies: whom uvicorn believes what they say of a request.
    """
    if supervised():
        uvicorn.config.HTTP_PROTOCOLS["auto"] = connection_class
        uvicorn.config.LOOP_FACTORIES["auto"] = uvicorn.config.LOOP_FACTORIES["asyncio"]
        os.environ["FORWARDED_ALLOW_IPS"] = ",".join(trusted_proxies)


@contextmanager
def giving_up_on_errors() -> Iterator[None]:
    """Ends this process if the block raises, and the supervisor, who would only try again."""
    try:
        yield
    except (StartupError, StoreFailed, ModelError) as error:
        log.error("the server does not start", reason=str(error))
        _give_up()
    except Exception:
        log.exception("the server does not start")
        _give_up()


def _give_up() -> None:
    if supervised():
        os.kill(os.getppid(), signal.SIGTERM)
    os._exit(1)


def supervised() -> bool:
    """Returns whether a supervisor of BentoML's started this process, and listens for it."""
    return "--worker-id" in sys.argv
