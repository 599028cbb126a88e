"""The RPC ``DescribeLabels``: what labels mean, before anybody has labelled an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

import adapters
from models import Modality
from service.concurrency.tasks import UninterruptedTasks
from service.config import ServerSettings
from service.embedding.head_backbones import head_backbone
from service.embedding.resolved import Resolved, new_example
from service.embedding.resolver import EmbeddingResolver
from service.errors import InvalidRequest, PreconditionFailed, problem_of
from service.extraction import Extractor
from service.fitting.trainer import MIN_CLASSES, check_trainable
from service.handlers.heads import describe
from service.replies.heads import texts_of, training_message
from service.requests.call import Call
from service.requests.fields import check_label, normalised_labels
from service.requests.inputs import RawInput, read_inputs
from service.store import Database, example_sets
from service.store import heads as stored_heads
from service.store import jobs as stored_jobs
from service.store import labels as stored_labels
from service.store.descriptions import description_inputs, replace_descriptions
from service.store.examples import NewExample
from service.store.head_records import HeadRecord
from service.store.jobs import JobRecord
from service.training.jobs import TrainingJobs
from trunkline.resources import HeadName
from trunkline.v1 import common_pb2, heads_pb2

MAX_LABELS = 1000


@dataclass(eq=False)
class Descriptions:
    """Says what labels mean, so that a head for texts answers before it has examples."""

    _database: Database
    _extractor: Extractor
    _embeddings: EmbeddingResolver
    _jobs: TrainingJobs
    _tasks: UninterruptedTasks
    _settings: ServerSettings

    async def describe_labels(
        self, request: heads_pb2.DescribeLabelsRequest, call: Call
    ) -> heads_pb2.DescribeLabelsResponse:
        """Puts descriptions in the place of those that are stored, and starts a training.

        Raises:
            InvalidRequest: a label or a text is none, or two labels mean the same.
            PreconditionFailed: the head takes no texts, is being trained, or is left with too few
                classes to train on; or a text is an example of another label.
        """
        name = HeadName.parse(request.head)
        texts = self._read(request.descriptions)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        examples = await self._embedded(head, texts, call)
        training = await self._tasks.run(self._store(name, head, list(examples.values())))
        message = await self._database.read(describe, name)
        stored = await self._database.read(description_inputs, head.uid)
        message.label_descriptions.update(texts_of(stored))
        return heads_pb2.DescribeLabelsResponse(
            head=message,
            training=training,
            truncated=[label for label, example in examples.items() if example.truncated],
        )

    def _read(self, given: Mapping[str, str]) -> dict[str, str]:
        if len(given) > MAX_LABELS:
            raise InvalidRequest.at(
                "descriptions", "at most {limit} labels, has {value}", MAX_LABELS, len(given)
            )
        forms = normalised_labels(sorted(given), "descriptions")
        texts: dict[str, str] = {}
        labels: dict[str, str] = {}
        for label, form in forms.items():
            check_label(form, self._settings.max_label_bytes, "descriptions")
            text = given[label].strip() or form
            if (other := labels.setdefault(text, form)) != form:
                raise InvalidRequest(
                    f"descriptions: {other!r} and {form!r} have the same text, so nothing can tell "
                    "them apart",
                    field="descriptions",
                    limit="a text for each label",
                    value=form,
                )
            texts[form] = text
        return texts

    async def _embedded(
        self, head: HeadRecord, texts: Mapping[str, str], call: Call
    ) -> dict[str, NewExample]:
        backbone = head_backbone(self._extractor, head)
        if backbone.modality is not Modality.TEXT:
            raise PreconditionFailed(
                f"descriptions: {head.resource} takes {backbone.modality.value}s; only texts can "
                "be compared with what a class is said to be",
                field="descriptions",
                limit="a head for texts",
                value=backbone.modality.value,
            )
        inputs = [common_pb2.Input(text=text) for text in texts.values()]
        raws = await read_inputs(inputs, self._settings.input_limits)
        outcomes = await self._embeddings.resolve(
            head.tenant, backbone, raws, deadline=call.deadline, look_in_store=True
        )
        found: dict[str, NewExample] = {}
        for label, raw, outcome in zip(texts, raws, outcomes, strict=True):
            if not isinstance(raw, RawInput) or not isinstance(outcome, Resolved):
                error = outcome if isinstance(outcome, Exception) else raw
                assert isinstance(error, Exception)
                problem = problem_of(error)
                raise InvalidRequest(
                    f"descriptions: that of {label!r}: {problem.message}",
                    field="descriptions",
                    limit=problem.limit,
                    value=problem.value,
                )
            # The text is the operator's own, and shown again: it is kept whatever the head keeps.
            found[label] = new_example(raw, outcome, label, "description", keep_input=True)
        return found

    async def _store(
        self, name: HeadName, head: HeadRecord, new: list[NewExample]
    ) -> heads_pb2.Training | None:
        def write(connection: Connection) -> tuple[None, JobRecord | None]:
            stored_labels.changeable(connection, name, [])
            replace_descriptions(
                connection,
                head.uid,
                new,
                max_examples=self._settings.max_examples_per_head,
                fingerprint=head.fingerprint,
            )
            spec = stored_heads.require_head(connection, head.uid).spec
            counts = example_sets.label_counts(connection, head.uid)
            if not new and len(counts) < MIN_CLASSES:
                return None, None
            check_trainable(counts, adapters.HeadSpec.from_json(spec), self._settings.max_classes)
            return None, stored_jobs.start_job(connection, head.uid, spec, activate=None)

        _, running = await self._jobs.start_with(head, write)
        return None if running is None else training_message(str(name), running.job)
