"""All that trains, put together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.concurrency.tasks import UninterruptedTasks
from service.config import ServerSettings
from service.embedding.backfill import EmbeddingBackfill
from service.embedding.view_embeddings import ViewEmbeddings
from service.extraction import Extractor
from service.fitting.process import FitProcess
from service.fitting.trainer import Trainer
from service.live import LiveCopies
from service.metrics import Metrics
from service.serving.head_cache import HeadCache
from service.store import Database
from service.training.backbone_move import BackboneMove
from service.training.job_runner import JobRunner
from service.training.jobs import TrainingJobs
from service.tuning.activation_files import ActivationFiles
from service.tuning.activations import Activations
from service.tuning.process import TuningProcess
from service.tuning.tail_trainer import Parts, TailTrainer


@dataclass(frozen=True, slots=True)
class TrainingParts:
    """What others need of it."""

    jobs: TrainingJobs
    trainer: Trainer
    fitter: FitProcess
    views: ViewEmbeddings
    activations: ActivationFiles


def build_training(
    database: Database,
    extractor: Extractor,
    features: EmbeddingBackfill,
    loaded: HeadCache,
    live: LiveCopies,
    completion: UninterruptedTasks,
    ready: Callable[[], Awaitable[None]],
    settings: ServerSettings,
    metrics: Metrics,
) -> TrainingParts:
    """Builds it.

    Args:
        ready: returns as soon as the extractor answers.
    """
    limits = settings.input_limits
    fitter = FitProcess(settings.fit_threads)
    views = ViewEmbeddings(database, extractor, limits)
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
        TuningProcess(settings.data_dir / "tuning", settings.tune_threads),
    )
    tails = TailTrainer(database, extractor, parts, settings)
    move = BackboneMove(database, extractor, features)
    runner = JobRunner(database, extractor, fitter, trainer, tails, move, loaded, live, ready)
    jobs = TrainingJobs(database, fitter, runner, tails, completion, metrics)
    return TrainingParts(jobs, trainer, fitter, views, files)
