"""How good a version is believed to be."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """Accuracy and log-loss on examples the scoring model had not seen.

    `accuracy_low` and `accuracy_high` bound the 95 % Wilson score interval of
    `effective_examples`: what those it was measured on, in so many groups, are worth. It lies
    around `accuracy` less `optimism`, by which choosing strength and family on the same examples
    has made it too high. All of these are 0 in reports of earlier releases.
    """

    method: str
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    log_loss: float
    examples: int = 0
    groups: int = 0
    effective_examples: float = 0.0
    optimism: float = 0.0
