"""Keys of callers."""

from collections.abc import AsyncIterator, Sequence

from trunkline.clients.asynchronous.transport import AsyncTransport
from trunkline.v1 import access_pb2, keys_pb2
from trunkline.values.keys import Key, NewKey, Role, WhoAmI
from trunkline.values.sequences import strings_in
from trunkline.wire.building import build
from trunkline.wire.names import key_name, one_of, tenant_name
from trunkline.wire.reading import read


class AsyncKeys(AsyncTransport):
    """The calls about keys."""

    async def create_key(
        self,
        tenant: str | None = None,
        roles: Sequence[Role | str] = (),
        *,
        heads: Sequence[str] = (),
        note: str = "",
        lifetime_seconds: float | None = None,
        timeout: float | None = None,
    ) -> NewKey:
        """Makes a key; its text is in the result, and nowhere else.

        Without a `tenant` it is of the calling key's, so that an operator makes an operator's key,
        which needs no `roles`. It is good for the `heads` given, or for all; see `Key`. Without
        `lifetime_seconds` it does not expire.
        """
        request = build(
            keys_pb2.CreateKeyRequest,
            tenant="" if tenant is None else str(tenant_name(tenant)),
            roles=[
                access_pb2.Role.Value(f"ROLE_{one_of(Role, role, field='roles').name}")
                for role in strings_in(roles, "roles")
            ],
            heads=strings_in(heads, "heads"),
            note=note,
            lifetime_seconds=lifetime_seconds,
        )
        reply = await self._call(self._keys.CreateKey, request, timeout, idempotent=False)
        return NewKey(read(Key, reply.key), reply.text)

    async def list_keys(
        self, tenant: str | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[Key]:
        """Lists keys, oldest first, fetched page by page: a tenant's, or all that may be seen."""
        request = build(
            keys_pb2.ListKeysRequest, tenant="" if tenant is None else str(tenant_name(tenant))
        )
        async for page in self._pages(self._keys.ListKeys, request, timeout):
            for row in page.keys:
                yield read(Key, row)

    async def get_key(self, key: str, *, timeout: float | None = None) -> Key:
        """Returns the key of this id. Raises `NotFound`."""
        request = build(keys_pb2.GetKeyRequest, name=str(key_name(key)))
        reply = await self._call(self._keys.GetKey, request, timeout)
        return read(Key, reply.key)

    async def rotate_key(
        self, key: str, *, overlap_seconds: float | None = None, timeout: float | None = None
    ) -> NewKey:
        """Makes a key that may do what another may, which goes on for a while: a day by default."""
        request = build(
            keys_pb2.RotateKeyRequest, name=str(key_name(key)), overlap_seconds=overlap_seconds
        )
        reply = await self._call(self._keys.RotateKey, request, timeout, idempotent=False)
        return NewKey(read(Key, reply.key), reply.text, read(Key, reply.rotated))

    async def revoke_key(self, key: str, *, timeout: float | None = None) -> Key:
        """Takes a key out of use, from the reply on."""
        request = build(keys_pb2.RevokeKeyRequest, name=str(key_name(key)))
        reply = await self._call(self._keys.RevokeKey, request, timeout)
        return read(Key, reply.key)

    async def who_am_i(self, *, timeout: float | None = None) -> WhoAmI:
        """Says whose key this client shows, and whether calls need one."""
        reply = await self._call(self._keys.WhoAmI, keys_pb2.WhoAmIRequest(), timeout)
        key = read(Key, reply.key) if reply.HasField("key") else None
        return WhoAmI(key, reply.keys_required)
