"""A tenant's heads and tails: embeddings in, class scores out. Pure computation.

Not imported here are `adapters.drift`, `adapters.tuning`, `adapters.onnx_export` (onnx) and
`adapters.advice` (scikit-learn): their libraries take seconds to load, and only servers, only
trainings that fine-tune, only exports and only advice need them.
"""

from adapters.active_learning import suggest
from adapters.calibration import fit_temperature
from adapters.conformal import Conformal
from adapters.decisions import Acceptance, DecisionCurve, DecisionRule, accept
from adapters.diagnostics import diagnose
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
from adapters.head import Head
from adapters.live import live_head
from adapters.novelty import NoveltyBank
from adapters.progress import Progress
from adapters.report import Candidate, ClassReport, Estimate, Report
from adapters.sequential_comparison import PairedTest
from adapters.spec import FAMILIES, STRATEGIES, Augmentation, FineTune, HeadSpec, NoveltySpec
from adapters.training import Fitted, fit

__all__ = [
    "FAMILIES",
    "STRATEGIES",
    "Acceptance",
    "AdapterError",
    "Augmentation",
    "Candidate",
    "ClassReport",
    "Conformal",
    "DecisionCurve",
    "DecisionRule",
    "Estimate",
    "FineTune",
    "Fitted",
    "Head",
    "HeadSpec",
    "InvalidArgument",
    "InvalidEmbeddings",
    "InvalidExamples",
    "InvalidSpec",
    "InvalidWeights",
    "NoveltyBank",
    "NoveltySpec",
    "PairedTest",
    "Progress",
    "Report",
    "UnknownLabel",
    "Views",
    "accept",
    "diagnose",
    "evaluate",
    "evaluation",
    "fit",
    "fit_temperature",
    "live_head",
    "suggest",
]
