"""Who may enter the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import QueueFull


class Admission:
    """Bounds the rows and bytes inside the pipeline before any work is done.

    The rule is the same for one row and for many: either all rows of a request fit, or none is
    admitted.
    """

    def __init__(
        self, *, per_tenant: int, total: int, max_bytes: int, retry_after: float = 0.5
    ) -> None:
        self._per_tenant = per_tenant
        self._max_bytes = max_bytes
        self._held_bytes = 0
        self._total = total
        self._retry_after = retry_after
        self._held: dict[str, int] = {}
        self._held_in_all = 0

    @contextmanager
    def hold(self, tenant: str, rows: int, nbytes: int = 0) -> Iterator[None]:
        """Holds places for `rows` rows of `nbytes` bytes together.

        Raises:
            QueueFull: with a retry hint, if they do not fit.
        """
        held = self._held.get(tenant, 0)
        if held + rows > self._per_tenant:
            raise self._full("queued rows of this tenant", self._per_tenant, held + rows)
        if self._held_in_all + rows > self._total:
            raise self._full("queued rows of all tenants", self._total, self._held_in_all + rows)
        if self._held_bytes + nbytes > self._max_bytes:
            raise self._full("queued bytes", self._max_bytes, self._held_bytes + nbytes)
        self._held[tenant] = held + rows
        self._held_in_all += rows
        self._held_bytes += nbytes
        try:
            yield
        finally:
            self._held_in_all -= rows
            self._held_bytes -= nbytes
            self._held[tenant] -= rows
            if not self._held[tenant]:
                del self._held[tenant]

    def _full(self, field_name: str, limit: int, value: int) -> QueueFull:
        return QueueFull(
            f"{field_name}: at most {limit}, would be {value}; try again later",
            field=field_name,
            limit=limit,
            value=value,
            retry_after=self._retry_after,
        )
