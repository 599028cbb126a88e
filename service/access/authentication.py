"""Who makes a call, by the key that it shows."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

from sqlalchemy import Connection

from service.access.caller import ANYONE, Caller, Role
from service.access.key_text import hash_of, is_text
from service.concurrency.tasks import UninterruptedTasks
from service.errors import ServiceError, StoreFailed, Unauthenticated, Unavailable
from service.logs import get_logger
from service.store import Database
from service.store import keys as stored_keys
from service.store.changes import Changed
from service.store.keys import KeyRecord

HEADERS = ("authorization", "x-api-key")
"""Where a call shows its key: as ``Bearer KEY``, or as it is."""

MAX_KNOWN = 20_000
"""Keys that are kept in memory: some 10 MB."""

_BEARER = "bearer "

_PARTNER = Caller(frozenset({Role.OPERATE}), key="shared")

log = get_logger(__name__)


class Authentication(Protocol):
    """Tells who makes a call."""

    @property
    def required(self) -> bool:
        """Whether calls need a key."""

    async def caller(
        self, shown: Iterable[tuple[str, str]], before: Caller | None = None
    ) -> Caller:
        """Returns who makes a call with these headers.

        Args:
            before: who made it when it began; then its key need not be read anew.

        Raises:
            Unauthenticated: a key is needed, and none that is good was shown. It is the same
                whatever was wrong.
            Unavailable: it cannot be known now.
        """

    def check_again(self, connection: Connection, caller: Caller) -> None:
        """Refuses, within a write that gives access, who lost theirs since the call began.

        Raises:
            Unauthenticated: the caller's key is not good any more.
        """


class NoKeys:
    """Asks nobody for a key."""

    required = False

    async def caller(
        self, shown: Iterable[tuple[str, str]], before: Caller | None = None
    ) -> Caller:
        """Returns `ANYONE`."""
        return ANYONE

    def check_again(self, connection: Connection, caller: Caller) -> None:
        """Refuses nobody."""


class SharedKey:
    """Takes one key, which servers and the extractor that they use both know."""

    required = True

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    async def caller(
        self, shown: Iterable[tuple[str, str]], before: Caller | None = None
    ) -> Caller:
        """Returns one that may do everything, if the key is shown."""
        given = _shown_key(shown).encode(errors="replace")
        if not hmac.compare_digest(given, self._key):
            raise unauthenticated()
        return _PARTNER

    def check_again(self, connection: Connection, caller: Caller) -> None:
        """Refuses nobody: the key does not change."""


class Keys:
    """Takes the keys in the store, of which it keeps those in memory that were used lately.

    It follows the database: what is known of a key that a write has changed is forgotten, and who
    begins a load before that does not put it back.

    Args:
        required: whether calls need a key although there is none yet; else they do from the first
            one on.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        tasks: UninterruptedTasks,
        *,
        required: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.required = required
        self._database, self._tasks, self._clock = database, tasks, clock
        self._known: OrderedDict[bytes, tuple[KeyRecord, Caller]] = OrderedDict()
        self._hashes: dict[str, bytes] = {}  # of those, by their ids
        self._changes = 0
        self._used: dict[str, float] = {}
        database.follow(self._forget_changed)

    async def start(self) -> None:
        """Looks whether there are keys: then calls need one."""
        if await self._database.read(stored_keys.has_keys):
            self.required = True

    async def caller(
        self, shown: Iterable[tuple[str, str]], before: Caller | None = None
    ) -> Caller:
        """Returns the bearer of the key that is shown."""
        if not self.required:
            return ANYONE
        if before is not None and self._is_still(before):
            return before
        text = _shown_key(shown)
        key_hash = hash_of(text)
        known = self._known.get(key_hash)
        if known is not None:
            self._known.move_to_end(key_hash)
        elif is_text(text):
            known = await self._load(key_hash)
        now = self._clock()
        if known is None or not known[0].is_good(now):
            raise unauthenticated()
        self._note_use(known[0], now)
        return known[1]

    def check_again(self, connection: Connection, caller: Caller) -> None:
        """Refuses whose key was revoked or deleted, and who showed none before there was a first.

        Writes wait for one another: one that takes a key out of use may be before this one.
        """
        if caller.key:
            lost = not stored_keys.is_in_use(connection, caller.key, self._clock())
        else:
            lost = stored_keys.has_keys(connection)
        if lost:
            raise unauthenticated()

    async def _load(self, key_hash: bytes) -> tuple[KeyRecord, Caller] | None:
        changes = self._changes
        try:
            record = await self._database.read(stored_keys.find_key, key_hash)
        except StoreFailed as error:
            raise Unavailable("keys cannot be looked up now", retry_after=1.0) from error
        if record is None:
            return None
        known = record, _caller(record)
        if changes == self._changes:
            self._known[key_hash], self._hashes[record.id] = known, key_hash
            if len(self._known) > MAX_KNOWN:
                _, (oldest, _) = self._known.popitem(last=False)
                del self._hashes[oldest.id]
        return known

    def _is_still(self, caller: Caller) -> bool:
        """Returns whether all is known of its key that was when it was found to be this caller."""
        known = self._known.get(self._hashes.get(caller.key, b""))
        return known is not None and known[1] is caller and known[0].is_good(self._clock())

    def _forget_changed(self, changed: Changed) -> None:
        if not (changed.keys or changed.everything):
            return
        self._changes += 1
        self.required |= bool(changed.keys)
        known = self._hashes.keys()
        for key in set(known) if changed.everything else changed.keys & known:
            del self._known[self._hashes.pop(key)]

    def _note_use(self, record: KeyRecord, now: float) -> None:
        hour = now - now % 3600
        if self._used.get(record.id, record.used_at) == hour:
            return
        self._used[record.id] = hour
        if len(self._used) > MAX_KNOWN:
            self._used.clear()
        self._tasks.start(self._store_use(record.id, now))

    async def _store_use(self, key_id: str, now: float) -> None:
        try:
            await self._database.write(stored_keys.note_use, key_id, now)
        except ServiceError as error:  # the hour is lost, and no call for it
            log.warning("use of a key not noted", key=key_id, reason=error.message)


def unauthenticated() -> Unauthenticated:
    """Returns the error of every call without a good key, whatever is wrong with what it shows."""
    return Unauthenticated(
        "authorization: this server needs a key; show a good one as `authorization: Bearer KEY`, "
        "or as `x-api-key: KEY`",
        field="authorization",
        limit="a good key",
    )


def _shown_key(shown: Iterable[tuple[str, str]]) -> str:
    """Returns the key that headers show; "" if they show none, or several."""
    keys = set()
    for name, value in shown:
        if name == HEADERS[0]:
            scheme, key = value[: len(_BEARER)], value[len(_BEARER) :]
            keys.add(key.strip() if scheme.lower() == _BEARER else "")
        elif name == HEADERS[1]:
            keys.add(value.strip())
    return keys.pop() if len(keys) == 1 else ""


def _caller(record: KeyRecord) -> Caller:
    roles = frozenset(Role(role) for role in record.roles)
    return Caller(roles, record.tenant, record.heads, record.id, record.expires_at)
