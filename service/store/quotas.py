"""What tenants may use."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Quotas:
    """What a tenant may use; None for the server's default, 0 for no bound.

    Attributes:
        cost_per_second: cost units that come in a second.
        cost_burst: so many are kept for later; 0 for those of 10 seconds.
        rows_in_flight: rows inside the pipeline.
        examples: of all heads.
        stored_bytes: of inputs, embeddings, weights and tails.
    """

    cost_per_second: float | None = None
    cost_burst: float | None = None
    rows_in_flight: int | None = None
    examples: int | None = None
    stored_bytes: int | None = None

    def over(self, defaults: Quotas) -> Quotas:
        """Returns these, with the defaults in the place of those that are None."""
        return Quotas(
            *(
                getattr(defaults, name) if (own := getattr(self, name)) is None else own
                for name in QUOTAS
            )
        )


QUOTAS = tuple(field.name for field in fields(Quotas))
