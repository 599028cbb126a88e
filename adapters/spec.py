"""How a head is to be trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from adapters.errors import InvalidSpec

FAMILIES = ("logistic", "ridge")
"""Names of the families of heads, in the order `auto` reports them."""

AUTO = "auto"
MAX_SEED = 2**64 - 1


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """A training specification; the same examples, spec and seed give the same head.

    Attributes:
        family: one of `FAMILIES`, or "auto" to take the one with the lowest log-loss on examples
            it had not seen.
        seed: decides how examples are dealt into folds; from 0 to 2**64 - 1.
        l2: a fixed strength of the penalty `l2 / 2 * sum(weight ** 2)` that is added to the summed
            loss on standardised embeddings; chosen by validation when None.

    Raises:
        InvalidSpec: if a field is out of range.
    """

    family: str = AUTO
    seed: int = 0
    l2: float | None = None

    def __post_init__(self) -> None:
        known = (AUTO, *FAMILIES)
        if self.family not in known:
            raise InvalidSpec(
                f"family {self.family!r} is unknown, expected one of {', '.join(known)}",
                field="family",
                limit=", ".join(known),
                value=self.family,
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise InvalidSpec(
                f"seed {self.seed} is not between 0 and {MAX_SEED}",
                field="seed",
                limit=MAX_SEED,
                value=self.seed,
            )
        if self.l2 is not None and not (math.isfinite(self.l2) and self.l2 > 0):
            raise InvalidSpec(
                f"l2 {self.l2} is not a positive number", field="l2", limit="> 0", value=self.l2
            )

    def to_json(self) -> dict[str, Any]:
        """Return a dict that `json.dumps` takes and `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` returned."""
        return cls(**data)
