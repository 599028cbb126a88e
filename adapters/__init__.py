"""What a tenant owns: heads. Embeddings in, class scores out. Pure computation.

`adapters.drift` is not imported here: its library takes seconds to load, and only servers need it.
"""

from adapters.conformal import Conformal
from adapters.diagnosis import diagnose
from adapters.errors import (
    AdapterError,
    InvalidArgument,
    InvalidEmbeddings,
    InvalidExamples,
    InvalidSpec,
    InvalidWeights,
    UnknownLabel,
)
from adapters.estimate import evaluate, evaluation
from adapters.examples import Views
from adapters.fronts import Front
from adapters.head import Head
from adapters.live import REFRESH_UPDATES, Change, LiveHead, live_head
from adapters.novelty import NoveltyBank
from adapters.report import Candidate, ClassReport, Estimate, Evaluation, Report
from adapters.sequential import PairedTest
from adapters.spec import FAMILIES, Augmentation, HeadSpec, NoveltySpec
from adapters.suggestion import suggest
from adapters.training import Fitted, fit

__all__ = [
    "FAMILIES",
    "REFRESH_UPDATES",
    "AdapterError",
    "Augmentation",
    "Candidate",
    "Change",
    "ClassReport",
    "Conformal",
    "Estimate",
    "Evaluation",
    "Fitted",
    "Front",
    "Head",
    "HeadSpec",
    "InvalidArgument",
    "InvalidEmbeddings",
    "InvalidExamples",
    "InvalidSpec",
    "InvalidWeights",
    "LiveHead",
    "NoveltyBank",
    "NoveltySpec",
    "PairedTest",
    "Report",
    "UnknownLabel",
    "Views",
    "diagnose",
    "evaluate",
    "evaluation",
    "fit",
    "live_head",
    "suggest",
]
