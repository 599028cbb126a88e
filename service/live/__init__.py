"""Live copies of heads' active versions, which learn from feedback."""

from service.live.copies import LiveCopies
from service.live.policy import Policy
from service.live.status import LiveState, LiveStatus

__all__ = ["LiveCopies", "LiveState", "LiveStatus", "Policy"]
