"""Builds the objects that train."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.concurrency.tasks import UninterruptedTasks
from service.config import ServerSettings
from service.embedding.backfill import EmbeddingBackfill
from service.embedding.image_views import ViewMaker
from service.embedding.view_embeddings import ViewEmbeddings
from service.extraction import Extractor
from service.fitting.process import FitProcess
from service.fitting.trainer import Trainer
from service.metrics import Metrics
from service.store import Database
from service.training.backbone_move import BackboneMove
from service.training.job_runner import JobRunner
from service.training.jobs import TrainingJobs
from service.tuning.activation_files import ActivationFiles
from service.tuning.activations import Activations
from service.tuning.process import TuningProcess
from service.tuning.tail_trainer import TailTrainer


@dataclass(frozen=True, slots=True)
class TrainingParts:
    """The objects for training that others use, too."""

    jobs: TrainingJobs
    trainer: Trainer
    views: ViewEmbeddings
    activations: ActivationFiles


def build_training(
    database: Database,
    extractor: Extractor,
    backfill: EmbeddingBackfill,
    tasks: UninterruptedTasks,
    ready: Callable[[], Awaitable[None]],
    maker: ViewMaker,
    settings: ServerSettings,
    metrics: Metrics,
) -> TrainingParts:
    """Builds the training jobs and all that they use.

    Args:
        ready: returns as soon as the extractor answers.
        maker: makes views.
    """
    limits = settings.input_limits
    fit_process = FitProcess(settings.fit_threads, settings.child_silence_seconds)
    views = ViewEmbeddings(database, extractor, maker, limits)
    trainer = Trainer(
        database,
        fit_process,
        views,
        timeout_seconds=settings.fit_timeout_seconds,
        max_classes=settings.max_classes,
    )
    files = ActivationFiles(settings.data_dir / "activations", settings.activation_cache_bytes)
    tails = TailTrainer(
        database,
        extractor,
        trainer,
        Activations(database, extractor, files, maker, limits),
        backfill,
        TuningProcess(
            settings.data_dir / "tuning", settings.tune_threads, settings.child_silence_seconds
        ),
        settings,
    )
    move = BackboneMove(database, extractor, backfill)
    runner = JobRunner(
        database,
        extractor,
        fit_process,
        trainer,
        tails,
        move,
        ready,
        settings.max_versions_per_head,
    )
    jobs = TrainingJobs(database, fit_process, runner, tails, tasks, metrics)
    return TrainingParts(jobs, trainer, views, files)
