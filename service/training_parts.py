"""All that trains, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.activation_files import ActivationFiles
from service.activations import Activations
from service.completion import Completion
from service.config import ServerSettings
from service.extraction import Extractor
from service.features import Features
from service.fitting import Fitter
from service.live import LiveCopies
from service.loaded_heads import LoadedHeads
from service.making import Making, Means
from service.metrics import Metrics
from service.moving import Moving
from service.store import Database
from service.tail_training import Parts, TailTrainer
from service.trainer import Trainer
from service.training import Training
from service.tuning import Tuner
from service.views import Views


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
