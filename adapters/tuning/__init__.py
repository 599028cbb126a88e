"""Fine-tuning the last blocks of a backbone for one tenant. Pure computation.

The only part of this package that needs torch; `adapters` does not import it.
"""

from adapters.tuning.interfaces import (
    Activations,
    Block,
    Checkpoints,
    Clock,
    Name,
    Tensors,
    Tunable,
    Tuned,
    TunedTail,
    TuningProgress,
    ViewsOf,
)
from adapters.tuning.tune import tune

__all__ = [
    "Activations",
    "Block",
    "Checkpoints",
    "Clock",
    "Name",
    "Tensors",
    "Tunable",
    "Tuned",
    "TunedTail",
    "TuningProgress",
    "ViewsOf",
    "tune",
]
