"""The RPC ``SearchExamples``: stored examples by what is known of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from service.config import ServerSettings
from service.replies.examples import example_messages
from service.requests.call import Call
from service.requests.fields import check_external_id, check_rows
from service.requests.metadata import check_metadata
from service.requests.paging import PageTokens, page_size
from service.requests.words import has_words, read_words
from service.store import Database, example_search, kept_inputs
from service.store import heads as stored_heads
from service.store.example_search import Wanted
from trunkline.labels import normalised
from trunkline.resources import HeadName
from trunkline.v1 import common_pb2, heads_pb2

MAX_NAMED = 1000
"""External ids that examples are looked up by."""


@dataclass(eq=False)
class Searching:
    """Finds stored examples."""

    _database: Database
    _settings: ServerSettings
    _tokens: PageTokens

    async def search_examples(
        self, request: heads_pb2.SearchExamplesRequest, call: Call
    ) -> heads_pb2.SearchExamplesResponse:
        """Returns a page of the examples that have all that is given, oldest first."""
        size = page_size(request.page_size)
        wanted = _wanted(request)
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        listed = f"search/{head.uid}"
        after = self._tokens.read(listed, request.page_token, int)
        found = await self._database.read(
            example_search.search_examples, head.uid, wanted, after=after, limit=size
        )
        inputs: dict[str, bytes] = {}
        if request.with_inputs:
            digests = [example.digest for example in found.examples if example.has_input]
            room = self._settings.max_message_bytes
            inputs = await self._database.read(
                kept_inputs.find_first_inputs, head.uid, digests, room
            )
        return heads_pb2.SearchExamplesResponse(
            examples=example_messages(found.examples, inputs),
            next_page_token="" if found.after is None else self._tokens.write(listed, found.after),
            not_searched=found.not_searched,
        )


def _wanted(request: heads_pb2.SearchExamplesRequest) -> Wanted:
    if request.external_ids:
        check_rows("external_ids", len(request.external_ids), MAX_NAMED)
    words = read_words("text", request.text)
    return Wanted(
        external_ids=[check_external_id(name, "external_ids") for name in request.external_ids],
        metadata=check_metadata("metadata", request.metadata.pairs),
        label=normalised(request.label) if request.HasField("label") else None,
        matches=_looking_for(words) if words else None,
    )


def _looking_for(words: Sequence[str]) -> Callable[[bytes], bool | None]:
    """Returns what says of a serialised input whether it has the words; None where it is no text.

    One that is damaged is none: `trunkline check` finds it.
    """

    def matches(data: bytes) -> bool | None:
        try:
            item = common_pb2.Input.FromString(data)
        except DecodeError:
            return None
        match item.WhichOneof("kind"):
            case "text":
                return has_words(item.text, words)
            case "text_utf8":
                return has_words(item.text_utf8.decode(errors="replace"), words)
        return None

    return matches
