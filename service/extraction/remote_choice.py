"""Which of several extraction servers is used: one that is drawn by lot, and for a while.

All calls go to the one, as it holds the tails that were handed over. Those who use them are spread
over them by drawing again: after some minutes, or when the one does not serve or does not answer.
"""

from __future__ import annotations

import random

from trunkline.connection.addresses import is_balanced

LASTS_SECONDS = 300.0
"""Time until another one is drawn, give or take a fifth. Tails are handed over anew then."""

_BY_LOT = '{"loadBalancingConfig": [{"pick_first": {"shuffleAddressList": true}}]}'


def drawing_options(address: str) -> tuple[tuple[str, int | str], ...]:
    """Returns what a channel needs besides, so that it draws one of the servers of its name."""
    if not is_balanced(address):
        return ()
    return (
        ("grpc.service_config", _BY_LOT),
        # Else two channels share a connection, and the second draws what the first did.
        ("grpc.use_local_subchannel_pool", 1),
    )


def lasting(address: str) -> float | None:
    """Returns the seconds for which a drawn server is used; None where there is but one."""
    return LASTS_SECONDS * random.uniform(0.8, 1.2) if is_balanced(address) else None
