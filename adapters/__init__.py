"""A tenant's heads and tails: embeddings in, class scores out. Pure computation.

Not imported here are `adapters.drift`, `adapters.tuning`, `adapters.onnx_export` (onnx) and
`adapters.advice` (scikit-learn): their libraries take seconds to load, and only servers, only
trainings that fine-tune, only exports and only advice need them.
"""

from adapters.active_learning import suggest
from adapters.calibration import fit_temperature
from adapters.conformal import Conformal
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
from adapters.folds import stratified_folds
from adapters.fronts import NORMALISE, PROJECTION, STANDARDISE, Front
from adapters.head import Head
from adapters.live import REFRESH_UPDATES, Change, LiveHead, live_head
from adapters.novelty import NoveltyBank
from adapters.progress import Progress
from adapters.report import (
    AugmentationReport,
    Candidate,
    ClassReport,
    Estimate,
    Evaluation,
    FineTuningReport,
    LearningPoint,
    LikelyMislabelled,
    NearDuplicates,
    NoveltyReport,
    ReliabilityBin,
    Report,
    TuningEpoch,
)
from adapters.sequential_comparison import PairedTest
from adapters.spec import (
    FAMILIES,
    FRONTS,
    STRATEGIES,
    Augmentation,
    FineTune,
    HeadSpec,
    NoveltySpec,
)
from adapters.training import Fitted, fit

__all__ = [
    "FAMILIES",
    "FRONTS",
    "NORMALISE",
    "PROJECTION",
    "REFRESH_UPDATES",
    "STANDARDISE",
    "STRATEGIES",
    "AdapterError",
    "Augmentation",
    "AugmentationReport",
    "Candidate",
    "Change",
    "ClassReport",
    "Conformal",
    "Estimate",
    "Evaluation",
    "FineTune",
    "FineTuningReport",
    "Fitted",
    "Front",
    "Head",
    "HeadSpec",
    "InvalidArgument",
    "InvalidEmbeddings",
    "InvalidExamples",
    "InvalidSpec",
    "InvalidWeights",
    "LearningPoint",
    "LikelyMislabelled",
    "LiveHead",
    "NearDuplicates",
    "NoveltyBank",
    "NoveltyReport",
    "NoveltySpec",
    "PairedTest",
    "Progress",
    "ReliabilityBin",
    "Report",
    "TuningEpoch",
    "UnknownLabel",
    "Views",
    "diagnose",
    "evaluate",
    "evaluation",
    "fit",
    "fit_temperature",
    "live_head",
    "stratified_folds",
    "suggest",
]
