"""All that trains, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.completion import Completion
from service.config import ServerSettings
from service.embedding.backfill import Features
from service.embedding.view_embeddings import Views
from service.extraction import Extractor
from service.fitting.process import Fitter
from service.fitting.trainer import Trainer
from service.live import LiveCopies
from service.metrics import Metrics
from service.serving.head_cache import LoadedHeads
from service.store import Database
from service.training.backbone_move import Moving
from service.training.job_runner import Making, Means
from service.training.jobs import Training
from service.tuning.activation_files import ActivationFiles
from service.tuning.activations import Activations
from service.tuning.process import Tuner
from service.tuning.tail_trainer import Parts, TailTrainer


@dataclass(frozen=True, slots=True)
class TrainingParts:
    """What others need of it."""

    training: Training
    trainer: Trainer
    fitter: Fitter
    views: Views
    activations: ActivationFiles


def training_parts(
    database: Database,
    extractor: Extractor,
    features: Features,
    loaded: LoadedHeads,
    live: LiveCopies,
    completion: Completion,
    ready: Callable[[], Awaitable[None]],
    settings: ServerSettings,
    metrics: Metrics,
) -> TrainingParts:
    """Builds it.

    Args:
        ready: returns as soon as the extractor answers.
    """
    limits = settings.input_limits
    fitter = Fitter(settings.fit_threads)
    views = Views(database, extractor, limits)
    trainer = Trainer(
        database,
        fitter,
        views,
        timeout_seconds=settings.fit_timeout_seconds,
        max_classes=settings.max_classes,
    )
    files = ActivationFiles(settings.data_dir / "activations", settings.activation_cache_bytes)
    parts = Parts(
        trainer,
        views,
        Activations(database, extractor, files, limits),
        features,
        Tuner(settings.data_dir / "tuning", settings.tune_threads),
    )
    tails = TailTrainer(database, extractor, parts, settings)
    means = Means(fitter, trainer, tails, Moving(database, extractor, features), ready)
    making = Making(database, extractor, means, loaded, live)
    training = Training(database, fitter, making, tails, completion, metrics)
    return TrainingParts(training, trainer, fitter, views, files)
