"""`trunkline trainings …`: trainings that run, or have run."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import click

from trunkline.cli.connection import client_command, name_argument, optional_tenant_argument
from trunkline.cli.next_step import next_after_version, next_step
from trunkline.cli.output import Failure, Output
from trunkline.clients.client import Client
from trunkline.errors import NotFound
from trunkline.resources import ALL, HeadName, TrainingName
from trunkline.values.outcomes import Training, TuningProgress
from trunkline.wording import age


def _read_name(text: str) -> str:
    whole = "/trainings/" in text
    return str(TrainingName.parse(text)) if whole else HeadName.read(text).short


_NAME = name_argument("name", _read_name, "TENANT/HEAD|NAME")


@click.group()
def trainings() -> None:
    """List and show trainings, and cancel them."""


@trainings.command("list")
@optional_tenant_argument
@client_command
def list_trainings(client: Client, out: Output, tenant: str | None) -> None:
    """List the trainings that run for the heads of TENANT, or of all tenants."""
    now, rows = datetime.now(UTC), []
    for head in client.list_heads(tenant or ALL):
        with suppress(NotFound):  # the head was deleted meanwhile
            rows += [client.get_training(head.training)] if head.training else []
    out.listing(
        "trainings",
        rows,
        {
            "head": lambda row: TrainingName.parse(row.name).parent.short,
            "state": lambda row: row.state,
            "progress": lambda row: f"{row.progress:.0%}",
            "phase": lambda row: phase_words(row) or None,
            "age": lambda row: age(row.create_time, now),
        },
    )
    if rows:
        next_step(out, "trainings", "show", TrainingName.parse(rows[0].name).parent.short)


@trainings.command()
@_NAME
@client_command
def show(client: Client, out: Output, name: str) -> None:
    """Show how far a training is: the one that runs for a head, or any by its full name."""
    _print(out, client.get_training(_full_name(client, name)))


@trainings.command()
@_NAME
@client_command
def cancel(client: Client, out: Output, name: str) -> None:
    """End a training without a version; one that has ended stays as it is."""
    _print(out, client.cancel_training(_full_name(client, name)))


def phase_words(training: Training) -> str:
    """Describes what a training is doing, in one line."""
    tuning = training.tuning
    if tuning is None:
        return training.phase
    words = [
        _fold(tuning),
        *([tuning.views] if tuning.views != "none" else []),
        f"epoch {tuning.epoch}/{tuning.epochs}",
        f"loss {tuning.loss:.3f}",
    ]
    if tuning.validation_accuracy is not None:
        words.append(f"accuracy {tuning.validation_accuracy:.1%}")
    return ", ".join([*words, f"{_clock(tuning.remaining_seconds)} left"])


def _print(out: Output, training: Training) -> None:
    if out.as_json:
        out.document(training)
        return
    failed = f"{training.error_code}: {training.error_message}"
    facts: dict[str, object] = {
        "name": training.name,
        "state": training.state,
        "phase": training.phase or None,
        "progress": None if training.done else f"{training.progress:.0%}",
        "version": training.version,
        **({"not activated": training.inactive_reason} if training.inactive_reason else {}),
        "error": failed if training.error_code else None,
        "created (UTC)": training.create_time,
        "ended (UTC)": training.end_time,
    }
    out.facts(facts)
    if training.tuning:
        out.facts(_tuning_facts(training.tuning), title="fine-tuning")
    head = TrainingName.parse(training.name).parent.short
    if not training.done:
        next_step(out, "trainings", "show", head)
    elif training.version is None:
        next_step(out, "train", head)
    else:
        next_after_version(out, head, training.version, active=training.activated)


def _tuning_facts(tuning: TuningProgress) -> dict[str, object]:
    accuracy = tuning.validation_accuracy
    return {
        "fold": _fold(tuning),
        "epoch": f"{tuning.epoch} of {tuning.epochs}",
        "views": tuning.views,
        "passes": f"{tuning.passes} of at most {tuning.most_passes}",
        "loss": tuning.loss,
        "validation loss": tuning.validation_loss,
        "validation accuracy": None if accuracy is None else f"{accuracy:.1%}",
        "time left": _clock(tuning.remaining_seconds),
    }


def _fold(tuning: TuningProgress) -> str:
    return f"fold {tuning.fold}/{tuning.folds}" if tuning.fold else "all examples"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _full_name(client: Client, name: str) -> str:
    """Returns a training's full name; `name` may be that of a head with a training that runs."""
    if "/trainings/" in name:
        return name
    running = client.get_head(name).training
    if running is None:
        raise Failure(f"no training of {name} runs", NotFound.code)
    return running
