"""Admission control: how many rows and bytes may be inside the pipeline."""

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
        self._bytes = 0
        self._total = total
        self._retry_after = retry_after
        self._rows: dict[str, int] = {}
        self._total_rows = 0

    @contextmanager
    def admit(self, tenant: str, rows: int, nbytes: int = 0) -> Iterator[None]:
        """Admits `rows` rows, of `nbytes` bytes in all, for the length of the block.

        Raises:
            QueueFull: with a retry hint, if they do not fit.
        """
        queued = self._rows.get(tenant, 0)
        if queued + rows > self._per_tenant:
            raise self._full("queued rows of this tenant", self._per_tenant, queued + rows)
        if self._total_rows + rows > self._total:
            raise self._full("queued rows of all tenants", self._total, self._total_rows + rows)
        if self._bytes + nbytes > self._max_bytes:
            raise self._full("queued bytes", self._max_bytes, self._bytes + nbytes)
        self._rows[tenant] = queued + rows
        self._total_rows += rows
        self._bytes += nbytes
        try:
            yield
        finally:
            self._total_rows -= rows
            self._bytes -= nbytes
            self._rows[tenant] -= rows
            if not self._rows[tenant]:
                del self._rows[tenant]

    def _full(self, field_name: str, limit: int, value: int) -> QueueFull:
        return QueueFull(
            f"{field_name}: at most {limit}, would be {value}; try again later",
            field=field_name,
            limit=limit,
            value=value,
            retry_after=self._retry_after,
        )
