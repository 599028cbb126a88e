"""A head as stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class HeadRecord:
    """A head as stored.

    Attributes:
        tenant, name: the parts of its resource name.
        fingerprint: fingerprint of its backbone.
        tail: fingerprint of the tail that the active version runs on; None for the backbone itself.
        capture: what of its traffic is kept, as stored; None for nothing.
    """

    uid: str
    tenant_id: int
    tenant: str
    name: str
    backbone: str
    fingerprint: str
    spec: dict[str, Any]
    keep_inputs: bool
    active_version: int
    created_at: float
    policy: str
    allow_new_labels: bool
    drift_feedback_id: int | None
    drift_at: float | None
    tail: str | None
    capture: dict[str, Any] | None = None

    @property
    def active_fingerprint(self) -> str:
        """Fingerprint of the embeddings that the active version takes: its tail's or backbone's."""
        return self.tail or self.fingerprint

    @property
    def resource(self) -> str:
        """``tenants/{tenant}/heads/{name}``."""
        return f"tenants/{self.tenant}/heads/{self.name}"

    @property
    def short(self) -> str:
        """``{tenant}/{head}``."""
        return f"{self.tenant}/{self.name}"


@dataclass(frozen=True, slots=True)
class HeadCounts:
    """How much is stored for a head; of what was captured, what waits."""

    examples: int
    labelled: int
    feedback: int
    held_out: int = 0
    quarantined: int = 0
    captured: int = 0
