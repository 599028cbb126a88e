"""What tenants use of what they may: taken before the work, and counted after it."""

from __future__ import annotations

from collections.abc import Callable

from service.access.quotas import CACHED_ROW_COST, CostBucket, QuotaBook
from service.access.usage import UsageCounter


class Metering:
    """Takes from quotas, and counts usage."""

    def __init__(self, quotas: QuotaBook, usage: UsageCounter) -> None:
        self.quotas = quotas
        self._usage = usage

    def count_request(
        self, tenant: str, cached: int, nbytes: int, key: Callable[[], str] | None
    ) -> None:
        """Counts a request's inputs, and takes what those cost that are in memory.

        Args:
            nbytes: of all inputs.
            key: identifies the request when it comes back; None for one that has other rows, too,
                which takes its own.

        Raises:
            QuotaExceeded: nothing is left.
        """
        cost = cached * CACHED_ROW_COST
        if key is not None:
            self.quotas.take(tenant, cost, key)
        elif cached:
            self.quotas.charge(tenant, cost)
        used = self._usage.of(tenant)
        used.cached_rows += cached
        used.cost += cost
        used.input_bytes += nbytes

    def reserve(self, tenant: str, rows: int, cost: float, key: Callable[[], str]) -> Reservation:
        """Takes what rows are expected to cost, before anything is done for them.

        Raises:
            QuotaExceeded: so much is not left.
        """
        bucket = self.quotas.take(tenant, cost, key)
        return Reservation(self._usage, bucket, tenant, rows, cost)


class Reservation:
    """What was taken for rows; to be settled once."""

    def __init__(
        self, usage: UsageCounter, bucket: CostBucket | None, tenant: str, rows: int, cost: float
    ) -> None:
        self._usage, self._bucket = usage, bucket
        self._tenant, self._rows, self._cost = tenant, rows, cost
        self._settled = False

    def settle(self, rows: int, cost: float, device_seconds: float) -> None:
        """Says what was really used, and gives back what is left over."""
        if self._settled:
            return
        self._settled = True
        if self._bucket is not None:
            self._bucket.give_back(self._cost - cost)
        if rows:
            used = self._usage.of(self._tenant)
            used.rows += rows
            used.cost += cost
            used.device_seconds += device_seconds

    def cancel(self) -> None:
        """Gives everything back: nothing was done."""
        self.settle(0, 0.0, 0.0)

    def keep(self) -> None:
        """Takes it as used: it was begun, and nobody knows how far it came."""
        self.settle(self._rows, self._cost, 0.0)
