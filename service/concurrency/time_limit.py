"""A limit to the time that work may take, by a setting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.errors import Aborted


@asynccontextmanager
async def time_limit(seconds: float, what: str, setting: str) -> AsyncIterator[None]:
    """Ends what is inside after some seconds.

    Args:
        what: the work, as an error calls it.
        setting: that has the seconds.

    Raises:
        Aborted: it took longer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Aborted(
            f"{what}: took longer than {seconds} s", field=setting, limit=seconds
        ) from error
