"""Live copies: heads that follow feedback, one example at a time."""

from adapters.live.changes import Change
from adapters.live.choice import chosen_anew
from adapters.live.live_head import REFRESH_UPDATES, LiveHead, live_head
from adapters.live.near_copy_detector import NearCopyDetector

__all__ = [
    "REFRESH_UPDATES",
    "Change",
    "LiveHead",
    "NearCopyDetector",
    "chosen_anew",
    "live_head",
]
