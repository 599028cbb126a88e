"""What a tenant owns: heads. Embeddings in, class scores out. Pure computation."""

from adapters.errors import (
    AdapterError,
    InvalidArgument,
    InvalidEmbeddings,
    InvalidExamples,
    InvalidSpec,
    InvalidWeights,
    UnknownLabel,
)
from adapters.estimate import evaluate
from adapters.head import Head
from adapters.report import Candidate, ClassReport, Estimate, Report
from adapters.spec import FAMILIES, HeadSpec
from adapters.training import Fitted, fit

__all__ = [
    "FAMILIES",
    "AdapterError",
    "Candidate",
    "ClassReport",
    "Estimate",
    "Fitted",
    "Head",
    "HeadSpec",
    "InvalidArgument",
    "InvalidEmbeddings",
    "InvalidExamples",
    "InvalidSpec",
    "InvalidWeights",
    "Report",
    "UnknownLabel",
    "evaluate",
    "fit",
]
