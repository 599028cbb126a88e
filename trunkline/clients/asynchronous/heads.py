"""Heads and their live copies."""

from collections.abc import AsyncIterator

from trunkline.clients.asynchronous.transport import AsyncTransport
from trunkline.clients.specs import capture_message, policy_number, spec_message
from trunkline.replies import heads as replies
from trunkline.resources import ALL, ALL_TENANTS
from trunkline.v1 import heads_pb2
from trunkline.values.capture import Capture
from trunkline.values.heads import Dropped, Head, HeadSpec, Policy, Promoted
from trunkline.wire.building import build
from trunkline.wire.names import head_name, tenant_name


class AsyncHeads(AsyncTransport):
    """The calls about heads."""

    async def create_head(
        self,
        head: str,
        backbone: str,
        spec: HeadSpec | None = None,
        *,
        keep_inputs: bool = False,
        policy: Policy | str | None = None,
        allow_new_labels: bool = False,
        capture: Capture | None = None,
        timeout: float | None = None,
    ) -> Head:
        """Makes a head on a backbone. Raises `AlreadyExists` if the name is taken.

        `policy` ("gated" by default) says what feedback does to predictions; `allow_new_labels`
        whether feedback may bring labels that the head does not have yet; `capture` what of its
        traffic is kept, nothing by default.
        """
        name = head_name(head)
        request = build(
            heads_pb2.CreateHeadRequest,
            parent=str(name.parent),
            head_id=name.head,
            backbone=backbone,
            spec=spec_message(spec),
            keep_inputs=keep_inputs,
            policy=policy_number(policy) or heads_pb2.FEEDBACK_POLICY_UNSPECIFIED,
            allow_new_labels=allow_new_labels,
            capture=capture_message(capture),
        )
        reply = await self._call(self._heads.CreateHead, request, timeout, idempotent=False)
        return replies.head(reply.head)

    async def update_head(
        self,
        head: str,
        spec: HeadSpec | None = None,
        *,
        policy: Policy | str | None = None,
        allow_new_labels: bool | None = None,
        capture: Capture | bool | None = None,
        timeout: float | None = None,
    ) -> Head:
        """Changes a head's policy, what of its traffic is kept, or its spec for trainings to come.

        None leaves as it is; with `capture` False nothing more is kept.
        """
        request = build(
            heads_pb2.UpdateHeadRequest,
            name=str(head_name(head)),
            spec=spec_message(spec),
            policy=policy_number(policy),
            allow_new_labels=allow_new_labels,
            capture=capture_message(capture),
        )
        reply = await self._call(self._heads.UpdateHead, request, timeout)
        return replies.head(reply.head)

    async def get_head(self, head: str, *, timeout: float | None = None) -> Head:
        """Returns the head. Raises `NotFound`."""
        request = build(heads_pb2.GetHeadRequest, name=str(head_name(head)))
        reply = await self._call(self._heads.GetHead, request, timeout)
        return replies.head(reply.head)

    async def list_heads(
        self, tenant: str = ALL, *, timeout: float | None = None
    ) -> AsyncIterator[Head]:
        """Lists the heads of a tenant, or of all ("-"), by tenant and name, page by page."""
        parent = ALL_TENANTS if tenant == ALL else str(tenant_name(tenant))
        request = build(heads_pb2.ListHeadsRequest, parent=parent)
        async for page in self._pages(self._heads.ListHeads, request, timeout):
            for row in page.heads:
                yield replies.head(row)

    async def delete_head(self, head: str, *, timeout: float | None = None) -> None:
        """Deletes a head with its examples, versions and feedback."""
        request = build(heads_pb2.DeleteHeadRequest, name=str(head_name(head)))
        await self._call(self._heads.DeleteHead, request, timeout, idempotent=False)

    async def promote_live_copy(self, head: str, *, timeout: float | None = None) -> Promoted:
        """Makes a version of the live copy and activates it, whatever the policy."""
        request = build(heads_pb2.PromoteLiveCopyRequest, head=str(head_name(head)))
        reply = await self._call(self._heads.PromoteLiveCopy, request, timeout, idempotent=False)
        version = replies.version(reply.version)
        return Promoted(replies.head(reply.head), version, tuple(reply.removed_versions))

    async def drop_live_copy(self, head: str, *, timeout: float | None = None) -> Dropped:
        """Drops the live copy; the feedback behind it is quarantined."""
        request = build(heads_pb2.DropLiveCopyRequest, head=str(head_name(head)))
        reply = await self._call(self._heads.DropLiveCopy, request, timeout, idempotent=False)
        return Dropped(replies.head(reply.head), reply.quarantined)
