"""Keys as messages, and their roles read off the wire."""

from __future__ import annotations

from collections.abc import Iterable

from service.access.caller import Role, in_order
from service.errors import InvalidRequest
from service.replies.heads import timestamp
from service.replies.messages import message_of
from service.store.keys import KeyRecord
from trunkline.v1 import access_pb2, keys_pb2

_ROLES = {access_pb2.Role.Value(f"ROLE_{role.name}"): role for role in Role}
_NUMBERS = {role: number for number, role in _ROLES.items()}


def read_roles(numbers: Iterable[access_pb2.Role.ValueType]) -> list[Role]:
    """Returns the roles that a request names, each once.

    Raises:
        InvalidRequest: there is none of a number.
    """
    roles = []
    for number in numbers:
        if number not in _ROLES:
            raise InvalidRequest.at(
                "roles", "there is none with the number {value}", ", ".join(Role), number
            )
        roles.append(_ROLES[number])
    return in_order(roles)


def key_message(record: KeyRecord) -> keys_pb2.Key:
    """Converts a key to its message, which has neither its text nor a hash of it."""
    return message_of(
        keys_pb2.Key,
        record,
        tenant="" if record.tenant is None else f"tenants/{record.tenant}",
        roles=[_NUMBERS[Role(role)] for role in record.roles],
        create_time=timestamp(record.created_at),
        expire_time=_timestamp(record.expires_at),
        revoke_time=_timestamp(record.revoked_at),
        last_use_time=_timestamp(record.used_at),
    )


def _timestamp(seconds: float | None) -> object:
    return None if seconds is None else timestamp(seconds)
