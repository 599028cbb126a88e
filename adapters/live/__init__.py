"""Live copies: heads that follow feedback, one example at a time."""

from adapters.live.changes import Change
from adapters.live.live_head import REFRESH_UPDATES, LiveHead, live_head

__all__ = ["REFRESH_UPDATES", "Change", "LiveHead", "live_head"]
