"""The RPCs on a head's stored examples: list, update and delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from service.concurrency.tasks import UninterruptedTasks
from service.config import ServerSettings
from service.errors import InvalidRequest, NotFound, ServiceError
from service.replies.examples import example_messages
from service.replies.rows import row_error
from service.requests.call import Call
from service.requests.fields import (
    check_external_id,
    check_label,
    check_rows,
)
from service.requests.inputs import check_digest, check_prefix
from service.requests.paging import PageTokens, page_size
from service.store import Database, kept_inputs
from service.store import examples as stored_examples
from service.store import heads as stored_heads
from service.store.examples import ExampleRecord
from service.store.head_records import HeadRecord
from service.tuning.activation_files import ActivationFiles
from trunkline.labels import normalised
from trunkline.resources import HeadName
from trunkline.v1 import heads_pb2

MAX_DIGESTS = 10_000
MAX_NAMED = 1000
"""Digests, beginnings of them, or external ids, that examples are looked up by."""


@dataclass(eq=False)
class Examples:
    """Lists, relabels and deletes examples."""

    _database: Database
    _activations: ActivationFiles
    _tasks: UninterruptedTasks
    _settings: ServerSettings
    _tokens: PageTokens

    async def list_examples(
        self, request: heads_pb2.ListExamplesRequest, call: Call
    ) -> heads_pb2.ListExamplesResponse:
        """Returns a page of examples, oldest first."""
        size = page_size(request.page_size)
        if request.external_ids:
            check_rows("external_ids", len(request.external_ids), MAX_NAMED)
        ids = [check_external_id(name, "external_ids") for name in request.external_ids]
        if request.digests:
            return await self._find_examples(request, ids)
        head = await self._head(request.head)
        name = f"examples/{head.uid}"
        after = self._tokens.read(name, request.page_token, int)
        found = await self._database.read(
            stored_examples.list_examples,
            head.uid,
            after=after,
            limit=size + 1,
            label=normalised(request.label) if request.HasField("label") else None,
            external_ids=ids,
        )
        page = found[:size]
        return heads_pb2.ListExamplesResponse(
            examples=await self._messages(head, page, request),
            next_page_token=self._tokens.write(name, page[-1].id) if len(found) > size else "",
        )

    async def _find_examples(
        self, request: heads_pb2.ListExamplesRequest, external_ids: Sequence[str]
    ) -> heads_pb2.ListExamplesResponse:
        """Returns the examples whose digests begin as asked for, all in one page."""
        check_rows("digests", len(request.digests), MAX_NAMED)
        prefixes = list(dict.fromkeys(map(check_prefix, request.digests)))
        head = await self._head(request.head)
        found = await self._database.read(stored_examples.find_by_prefix, head.uid, prefixes)
        label = normalised(request.label)
        wanted = [
            row
            for row in found
            if (not request.HasField("label") or row.label == label)
            and (not external_ids or row.external_id in external_ids)
        ]
        return heads_pb2.ListExamplesResponse(examples=await self._messages(head, wanted, request))

    async def _messages(
        self,
        head: HeadRecord,
        examples: Sequence[ExampleRecord],
        request: heads_pb2.ListExamplesRequest,
    ) -> list[heads_pb2.Example]:
        """Returns the examples as messages, with their inputs where they are asked for and fit."""
        inputs: Mapping[str, bytes] = {}
        if request.with_inputs:
            digests = [example.digest for example in examples if example.has_input]
            room = self._settings.max_message_bytes
            inputs = await self._database.read(
                kept_inputs.find_first_inputs, head.uid, digests, room
            )
        return example_messages(examples, inputs)

    async def update_examples(
        self, request: heads_pb2.UpdateExamplesRequest, call: Call
    ) -> heads_pb2.UpdateExamplesResponse:
        """Changes labels; a row that fails costs itself alone."""
        check_rows("updates", len(request.updates), MAX_DIGESTS)
        head = await self._head(request.head)
        changes: list[tuple[str, str | None] | ServiceError] = []
        for item in request.updates:
            try:
                change = check_digest(item.digest), self._label(item)
            except InvalidRequest as error:
                changes.append(error)
            else:
                changes.append(change)
        errors, corrections = await self._database.write(_update_labels, head.uid, changes)
        found = [
            change[0]
            for row, change in enumerate(changes)
            if row not in errors and not isinstance(change, ServiceError)
        ]
        return heads_pb2.UpdateExamplesResponse(
            updated=len(found),
            errors=[row_error(row, error, call.request_id) for row, error in errors.items()],
            repeated=len(found) - len(set(found)),
            corrections_replaced=corrections,
        )

    async def delete_examples(
        self, request: heads_pb2.DeleteExamplesRequest, call: Call
    ) -> heads_pb2.DeleteExamplesResponse:
        """Deletes examples; a row that fails costs itself alone."""
        check_rows("digests", len(request.digests), MAX_DIGESTS)
        head = await self._head(request.head)
        digests = [_digest_or_error(digest) for digest in request.digests]
        errors = await self._tasks.run(self._delete(head, digests))
        return heads_pb2.DeleteExamplesResponse(
            deleted=len(request.digests) - len(errors),
            errors=[row_error(row, error, call.request_id) for row, error in errors.items()],
        )

    async def _delete(
        self, head: HeadRecord, digests: Sequence[str | ServiceError]
    ) -> dict[int, ServiceError]:
        errors = await self._database.write(_delete, head.uid, digests)
        deleted = [digest for digest in digests if not isinstance(digest, ServiceError)]
        await self._activations.threads.run(self._activations.forget, head.uid, deleted)
        return errors

    def _label(self, row: heads_pb2.ExampleUpdate) -> str | None:
        if not row.HasField("label"):
            return None
        return check_label(row.label, self._settings.max_label_bytes)

    async def _head(self, resource: str) -> HeadRecord:
        name = HeadName.parse(resource)
        return await self._database.read(stored_heads.get_head, name.tenant, name.head)


def _digest_or_error(digest: str) -> str | ServiceError:
    try:
        return check_digest(digest)
    except InvalidRequest as error:
        return error


def _update_labels(
    connection: Connection, uid: str, changes: Sequence[tuple[str, str | None] | ServiceError]
) -> tuple[dict[int, ServiceError], int]:
    """Changes labels; returns errors by row, and how many corrections by feedback that replaced."""
    errors: dict[int, ServiceError] = {}
    corrections = 0
    for row, change in enumerate(changes):
        if isinstance(change, ServiceError):
            errors[row] = change
            continue
        try:
            corrections += stored_examples.update_label(connection, uid, *change)
        except NotFound as error:
            errors[row] = error
    return errors, corrections


def _delete(
    connection: Connection, uid: str, digests: Sequence[str | ServiceError]
) -> dict[int, ServiceError]:
    """Deletes; returns errors by row."""
    errors: dict[int, ServiceError] = {}
    for row, digest in enumerate(digests):
        if isinstance(digest, ServiceError):
            errors[row] = digest
            continue
        try:
            stored_examples.delete_example(connection, uid, digest)
        except NotFound as error:
            errors[row] = error
    return errors
