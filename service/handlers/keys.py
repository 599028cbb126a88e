"""The RPCs on keys: create, list, get, rotate and revoke, and ``WhoAmI``."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection

from service.access.authentication import Authentication
from service.access.caller import ANY, OF_TENANTS, Caller, Role, in_order
from service.access.key_text import hash_of, new_text
from service.errors import InvalidRequest, NotFound, PermissionDenied, PreconditionFailed
from service.replies.keys import key_message, read_roles
from service.requests.call import Call
from service.requests.fields import check_note
from service.requests.paging import PageTokens, page_size
from service.store import Database
from service.store import keys as stored_keys
from service.store.keys import KeyRecord
from trunkline.resources import ID_PATTERN, KeyName, TenantName
from trunkline.v1 import keys_pb2

MAX_LIFETIME_SECONDS = 100 * 366 * 86_400
OVERLAP_SECONDS = 86_400
MAX_OVERLAP_SECONDS = 90 * 86_400
MAX_PATTERNS = 100

Check = Callable[[Connection], None]
"""Refuses, within a write, a caller whose key is out of use since the call began."""

_PATTERN = re.compile(rf"{ID_PATTERN[:-1]}|([A-Za-z0-9][A-Za-z0-9_.-]{{0,61}})?\*$")


@dataclass(eq=False)
class AccessKeys:
    """Makes, shows, rotates and revokes keys."""

    _database: Database
    _authentication: Authentication
    _tokens: PageTokens

    async def create_key(
        self, request: keys_pb2.CreateKeyRequest, call: Call
    ) -> keys_pb2.CreateKeyResponse:
        """Makes a key, and returns its text this once."""
        if not self._authentication.required and not call.local:
            raise PermissionDenied(
                "CreateKey: where no key is asked for, keys may be made on the server's own "
                "machine only",
                field="peer",
            )
        tenant = _tenant_of(request.tenant, call.caller)
        roles = read_roles(request.roles)
        if tenant is None:
            _check_no_tenant(roles, request.heads)
            roles = roles or [Role.OPERATE]
        else:
            _check_tenant(roles, request.heads)
        note = check_note(request.note)
        lifetime = request.lifetime_seconds if request.HasField("lifetime_seconds") else None
        expires_at = _expiry(lifetime, call.caller)
        text = new_text()
        record = await self._database.write(
            _add,
            self._check(call),
            hash_of(text),
            tenant=tenant,
            roles=roles,
            heads=list(dict.fromkeys(request.heads)),
            note=note,
            expires_at=expires_at,
        )
        call.resource = record.name
        return keys_pb2.CreateKeyResponse(key=key_message(record), text=text)

    async def list_keys(
        self, request: keys_pb2.ListKeysRequest, call: Call
    ) -> keys_pb2.ListKeysResponse:
        """Returns a page of keys, in the order in which they were made."""
        tenant = _tenant_of(request.tenant, call.caller)
        size = page_size(request.page_size)
        listed = f"keys/{tenant or ''}"
        after = self._tokens.read(listed, request.page_token, int)
        found = await self._database.read(stored_keys.list_keys, tenant, after, size + 1)
        token = self._tokens.write(listed, found[size - 1].number) if len(found) > size else ""
        return keys_pb2.ListKeysResponse(
            keys=[key_message(record) for record in found[:size]], next_page_token=token
        )

    async def get_key(self, request: keys_pb2.GetKeyRequest, call: Call) -> keys_pb2.GetKeyResponse:
        """Returns a key, without its text."""
        record = await self._database.read(_visible, request.name, call.caller)
        return keys_pb2.GetKeyResponse(key=key_message(record))

    async def rotate_key(
        self, request: keys_pb2.RotateKeyRequest, call: Call
    ) -> keys_pb2.RotateKeyResponse:
        """Makes a key that may do what another may, and lets that one expire soon."""
        overlap: float = OVERLAP_SECONDS
        if request.HasField("overlap_seconds"):
            overlap = _seconds("overlap_seconds", request.overlap_seconds, MAX_OVERLAP_SECONDS)
        text = new_text()
        new, old = await self._database.write(
            _rotate, self._check(call), request.name, call.caller, hash_of(text), overlap
        )
        call.tenant = old.tenant or ""
        return keys_pb2.RotateKeyResponse(key=key_message(new), text=text, rotated=key_message(old))

    async def revoke_key(
        self, request: keys_pb2.RevokeKeyRequest, call: Call
    ) -> keys_pb2.RevokeKeyResponse:
        """Takes a key out of use; one that is revoked already stays as it is."""
        record = await self._database.write(_revoke, request.name, call.caller)
        call.tenant = record.tenant or ""
        return keys_pb2.RevokeKeyResponse(key=key_message(record))

    async def who_am_i(
        self, request: keys_pb2.WhoAmIRequest, call: Call
    ) -> keys_pb2.WhoAmIResponse:
        """Returns the key that the call shows, if one is asked for."""
        reply = keys_pb2.WhoAmIResponse(keys_required=self._authentication.required)
        if call.caller.key:
            record = await self._database.read(stored_keys.get_key, call.caller.key)
            reply.key.CopyFrom(key_message(record))
        return reply

    def _check(self, call: Call) -> Check:
        return partial(self._authentication.check_again, caller=call.caller)


def _tenant_of(name: str, caller: Caller) -> str | None:
    return TenantName.parse(name).tenant if name else caller.tenant


def _check_no_tenant(roles: Sequence[Role], heads: Sequence[str]) -> None:
    if len(roles) > 1 or OF_TENANTS.intersection(roles):
        raise InvalidRequest.at(
            "roles",
            "must be {limit} for a key without a tenant, are {value}",
            f"{Role.OPERATE}, which may do everything, or {Role.METRICS}",
            ",".join(roles),
        )
    if heads:
        raise InvalidRequest.at(
            "heads", "must be empty for a key without a tenant, has {value}", 0, len(heads)
        )


def _check_tenant(roles: Sequence[Role], heads: Sequence[str]) -> None:
    if not roles or not OF_TENANTS.issuperset(roles):
        raise InvalidRequest.at(
            "roles",
            "at least one of {limit} for a tenant's key, are {value}",
            ", ".join(in_order(OF_TENANTS)),
            ",".join(roles) or "none",
        )
    if heads and Role.OWN in roles:
        raise InvalidRequest.at(
            "heads",
            "must be empty for a key that owns its tenant, has {value}: it could make a key for "
            "all heads",
            0,
            len(heads),
        )
    if len(heads) > MAX_PATTERNS:
        raise InvalidRequest.at("heads", "at most {limit}, has {value}", MAX_PATTERNS, len(heads))
    for pattern in heads:
        if not _PATTERN.fullmatch(pattern):
            raise InvalidRequest.at(
                "heads",
                "must be ids of heads, at the end of which '*' stands for whatever follows, has "
                "{value!r}",
                f"an id, or its beginning and {ANY}",
                pattern,
            )


def _expiry(lifetime: float | None, caller: Caller) -> float | None:
    """Returns when a new key expires.

    Raises:
        InvalidRequest: the lifetime is none, or outlasts the caller's own key.
    """
    if lifetime is None:
        expires_at = None
    else:
        expires_at = time.time() + _seconds("lifetime_seconds", lifetime, MAX_LIFETIME_SECONDS)
    last = caller.expires_at
    if last is not None and (expires_at is None or expires_at > last):
        raise InvalidRequest.at(
            "lifetime_seconds",
            "at most {limit}, what is left of the key that makes it, is {value}",
            max(0, int(last - time.time())),
            "not given" if lifetime is None else lifetime,
        )
    return expires_at


def _seconds(field: str, seconds: float, most: float) -> float:
    if not 0 < seconds <= most:
        raise InvalidRequest.at(field, "above 0, at most {limit}, is {value}", most, seconds)
    return seconds


def _add(
    connection: Connection,
    /,
    check: Check,
    key_hash: bytes,
    *,
    tenant: str | None,
    roles: Sequence[Role],
    **values: Any,
) -> KeyRecord:
    if Role.OPERATE not in roles and not stored_keys.has_keys(connection):
        raise PreconditionFailed(
            "tenant: the first key must be an operator's, which has no tenant: from then on every "
            "call needs a key, and nobody could make another",
            field="tenant" if tenant else "roles",
            limit="none for the first key" if tenant else Role.OPERATE.value,
            value=f"tenants/{tenant}" if tenant else ",".join(roles),
        )
    check(connection)
    return stored_keys.add_key(connection, key_hash, tenant=tenant, roles=roles, **values)


def _visible(connection: Connection, name: str, caller: Caller) -> KeyRecord:
    """Returns a key that the caller may see.

    Raises:
        NotFound: there is none of this name, as far as the caller can tell.
    """
    try:
        return stored_keys.get_key(connection, KeyName.parse(name).key, caller.tenant)
    except NotFound as error:
        if caller.tenant is None:
            raise
        raise error.as_hidden() from error  # whether it is another's is not looked up


def _revoke(connection: Connection, name: str, caller: Caller) -> KeyRecord:
    return stored_keys.revoke_key(connection, _visible(connection, name, caller).id)


def _rotate(
    connection: Connection,
    check: Check,
    name: str,
    caller: Caller,
    key_hash: bytes,
    overlap: float,
) -> tuple[KeyRecord, KeyRecord]:
    check(connection)
    now = time.time()
    old = _visible(connection, name, caller)
    if not old.is_good(now):
        raise PreconditionFailed.at(
            "name", "must be of a key in use, {value} is revoked or expired", "in use", old.name
        )
    last = caller.expires_at
    if last is not None and (old.expires_at is None or old.expires_at > last):
        raise PermissionDenied.at(
            "name", "a key that expires rotates none that outlives it, as {value} does", value=name
        )
    return stored_keys.rotate_key(connection, old.id, key_hash, now + overlap)
