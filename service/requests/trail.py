"""Which calls the audit log gets, and what it gets of them."""

from __future__ import annotations

from dataclasses import replace

from service.access.audit import Audit, is_refusal, safe_name
from service.errors import status_of
from service.requests.call import Call
from service.requests.names import tenant_in
from service.store.audit import AuditRow

NOTHING_CHANGED = frozenset(
    {
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "FAILED_PRECONDITION",
        "RESOURCE_EXHAUSTED",
        "ABORTED",
    }
)
"""Outcomes of calls that have changed nothing, unless they were streams."""

MAX_METHOD, MAX_PEER = 64, 128
"""Characters of them that the audit log keeps."""


class Trail:
    """Notes the calls that change something, and those that are refused.

    Attributes:
        audit: where; None for nowhere.
    """

    def __init__(self) -> None:
        self.audit: Audit | None = None

    async def acknowledge(self, call: Call) -> None:
        """Returns when the audit log has a call that changed something: then it may be answered."""
        if self.audit is None or not self.audit.wanted:
            return
        if call.hidden_head:
            row = self._row(self.audit, call, "NOT_FOUND")
            self.audit.note_refusal(replace(row, resource=safe_name(call.hidden_head)))
        if call.rule.changes and not call.noted:
            call.noted = True
            await self.audit.note(self._row(self.audit, call, "OK"))

    def note_failure(self, call: Call, error: Exception) -> None:
        """Notes a refusal, and what may have changed something although it failed."""
        if self.audit is None or call.noted or not self.audit.wanted:
            return
        code = status_of(error).code.name
        if is_refusal(error):
            self.audit.note_refusal(self._row(self.audit, call, code))
        elif call.rule.changes and (call.upload or code not in NOTHING_CHANGED):
            self.audit.note_later(self._row(self.audit, call, code))

    @staticmethod
    def _row(audit: Audit, call: Call, code: str) -> AuditRow:
        resource = safe_name(call.resource)
        # None learns of who asks for what is not theirs, and each of what its keys ask for.
        named = call.tenant or tenant_in(resource)
        return AuditRow(
            at=audit.now(),
            key=call.caller.key,
            tenant=call.caller.tenant or (named if call.caller.operates else ""),
            method=call.method[:MAX_METHOD],
            resource=resource,
            outcome=code,
            request_id=call.request_id,
            transport=call.transport,
            peer=call.peer[:MAX_PEER],
        )
