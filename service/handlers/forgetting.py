"""The RPC ``ForgetExamples``: nothing of them stays in the store, in memory, or in a version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.concurrency.tasks import UninterruptedTasks
from service.errors import (
    Aborted,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    ServiceError,
    reason_for_log,
)
from service.live import LiveCopies
from service.logs import get_logger
from service.replies.rows import row_error
from service.requests.call import Call
from service.requests.fields import check_external_id, check_rows
from service.requests.inputs import check_digest
from service.requests.metadata import check_metadata
from service.store import Database, example_search
from service.store import forgetting as stored_forgetting
from service.store import heads as stored_heads
from service.store.example_search import Wanted
from service.store.forgetting import Forgotten, Plan
from service.store.head_records import HeadRecord
from service.store.jobs import NewVersion
from service.training.assembly import TrainingParts
from trunkline.resources import HeadName
from trunkline.v1 import heads_pb2

MAX_DIGESTS = 10_000
MAX_NAMED = 1000
"""External ids that examples are chosen by."""

ATTEMPTS = 3
"""Attempts to forget while other versions become active."""

log = get_logger(__name__)


@dataclass(eq=False)
class Forgetting:
    """Forgets examples, and refits the active version without them."""

    _database: Database
    _live: LiveCopies
    _parts: TrainingParts
    _tasks: UninterruptedTasks

    async def forget_examples(
        self, request: heads_pb2.ForgetExamplesRequest, call: Call
    ) -> heads_pb2.ForgetExamplesResponse:
        """Forgets examples before it replies; a digest that fails costs itself alone.

        A client that leaves does not stop it.
        """
        chosen = bool(request.external_ids) or request.HasField("metadata")
        wanted = _chosen(request) if chosen else None
        if wanted is None:
            check_rows("digests", len(request.digests), MAX_DIGESTS)
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        digests, errors = _digests(request.digests)
        if wanted is not None:
            found = await self._database.read(example_search.matching_digests, head.uid, wanted)
            digests = dict(enumerate(found))
            if not found:
                return heads_pb2.ForgetExamplesResponse(version=head.active_version)
        plan, forgotten = await self._tasks.run(self._forget(head, list(digests.values())))
        for row, digest in digests.items():
            if digest not in plan.known:
                errors[row] = NotFound.at("digest", "the head knows no {value}", value=digest)
        return heads_pb2.ForgetExamplesResponse(
            forgotten=len(plan.known),
            errors=[row_error(row, errors[row], call.request_id) for row in sorted(errors)],
            deleted_versions=forgotten.versions,
            version=forgotten.active_version,
            held_by=[f"tenants/{head.tenant}/heads/{name}" for name in forgotten.held_by],
        )

    async def _forget(self, head: HeadRecord, digests: Sequence[str]) -> tuple[Plan, Forgotten]:
        for left in reversed(range(ATTEMPTS)):
            try:
                return await self._forget_once(head, digests)
            except Aborted:  # a training on another server, or a live copy, was first
                if not left:
                    raise
        raise AssertionError("unreachable")

    async def _forget_once(
        self, head: HeadRecord, digests: Sequence[str]
    ) -> tuple[Plan, Forgotten]:
        async with self._parts.jobs.paused(head.uid):
            head = await self._database.read(stored_heads.require_head, head.uid)
            plan = await self._database.read(stored_forgetting.plan, head.uid, digests)
            new = await self._refit(head, plan) if plan.refit else None
            files = self._parts.activations
            # Files first: after a crash in between they would be left, and nobody ask for them.
            await files.threads.run(files.forget, head.uid, plan.known)
            forgotten = await self._database.write(stored_forgetting.forget, head.uid, plan, new)
            await self._live.until_dropped(head.uid)
        await self._database.checkpoint()
        log.info(
            "forgotten",
            head=head.resource,
            examples=len(plan.known),
            versions=len(forgotten.versions),
            tails=len(forgotten.tails),
            version=forgotten.active_version,
        )
        return plan, forgotten

    async def _refit(self, head: HeadRecord, plan: Plan) -> NewVersion | None:
        """Refits the active version without the examples; None where too few are left."""
        try:
            return await self._parts.trainer.refit(head, plan.active_version, plan.known)
        except PreconditionFailed as error:
            log.info("nothing to refit", head=head.resource, reason=reason_for_log(error))
            return None


def _chosen(request: heads_pb2.ForgetExamplesRequest) -> Wanted:
    """Returns what examples are to be forgotten that no digest names; never all of them."""
    if request.digests:
        raise InvalidRequest.at(
            "digests",
            "must be empty together with external_ids or metadata, has {value}",
            0,
            len(request.digests),
        )
    if request.external_ids:
        check_rows("external_ids", len(request.external_ids), MAX_NAMED)
    elif not request.metadata.pairs:
        raise InvalidRequest.at("metadata", "at least {limit} pair, has {value}", 1, 0)
    if any(not name for name in request.external_ids):
        raise InvalidRequest.at("external_ids", "none may be empty", "not empty", "")
    return Wanted(
        external_ids=[check_external_id(name, "external_ids") for name in request.external_ids],
        metadata=check_metadata("metadata", request.metadata.pairs),
    )


def _digests(given: Sequence[str]) -> tuple[dict[int, str], dict[int, ServiceError]]:
    """Returns the digests by row, and errors of rows that have none."""
    digests: dict[int, str] = {}
    errors: dict[int, ServiceError] = {}
    for row, digest in enumerate(given):
        try:
            digests[row] = check_digest(digest)
        except InvalidRequest as error:
            errors[row] = error
    return digests, errors
