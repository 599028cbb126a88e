"""What grpcio logs: in a few words where it would flood the log, and heard where a server ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any

from service.logs import Seldom, get_logger

log = get_logger(__name__)

_cygrpc: Any = import_module("grpc._cython.cygrpc")  # whose types are found or not as it falls out


class GrpcLog:
    """A filter of grpcio's logger.

    Args:
        on_crash: is called when grpcio ends a server by itself, whichever it is.
    """

    def __init__(self, on_crash: Callable[[], object]) -> None:
        self._on_crash = on_crash
        self._logger = logging.getLogger("grpc._cython.cygrpc")
        self._undecoded = Seldom()
        self._logger.addFilter(self._pass_on)

    def close(self) -> None:
        """Lets everything pass again."""
        self._logger.removeFilter(self._pass_on)

    def _pass_on(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, Exception):
            self._on_crash()  # it logs what ended a server, and nothing else so
            return True
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, _cygrpc.ExecuteBatchError):
            log.info("reply not delivered: the client has left")
            return False
        if isinstance(error, UnicodeDecodeError):
            # It would log all of the value, with a traceback.
            if (left_out := self._undecoded()) is not None:
                log.info("metadata that is no UTF-8 ignored", left_out=left_out)
            return False
        return True
