"""What both transports let a client hold before anything of it is admitted."""

from __future__ import annotations

from dataclasses import dataclass

from service.config import ExtractorSettings
from service.transport.message_parts import most_parts


@dataclass(frozen=True, slots=True)
class TransportLimits:
    """Bounds of one port.

    Attributes:
        max_message_bytes: size of one gRPC message.
        max_parts: of one request: messages and items of lists, or values of JSON.
        max_connections: connections open at once.
        max_calls: gRPC calls open at once, on all connections.
        head_seconds: from the opening of a connection, or the first byte of a later request, to the
            end of its headers; for gRPC, to the end of the handshake.
        body_seconds: in which a body, or one gRPC message, must arrive, and a reply must be read.
        idle_seconds: after which a connection without a request is closed.
        age_seconds: after which a gRPC connection takes no new calls; 0 for none.
    """

    max_message_bytes: int
    max_parts: int
    max_connections: int
    max_calls: int
    head_seconds: float
    body_seconds: float
    idle_seconds: float
    age_seconds: float = 0.0

    @classmethod
    def of(cls, settings: ExtractorSettings, max_connections: int) -> TransportLimits:
        """Returns the limits that the settings name.

        Args:
            max_connections: the setting's, or fewer where files are short.
        """
        return cls(
            max_message_bytes=settings.max_message_bytes,
            max_parts=most_parts(settings.max_rows_per_request),
            max_connections=max_connections,
            max_calls=settings.max_calls,
            head_seconds=settings.head_timeout_seconds,
            body_seconds=settings.body_timeout_seconds,
            idle_seconds=settings.idle_timeout_seconds,
            age_seconds=settings.max_connection_age_seconds,
        )
