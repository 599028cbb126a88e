"""One request, as handlers and the audit log know it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from google.protobuf.message import Message

from service.access.caller import Caller
from service.access.rules import OPEN_TO_ALL, Rule
from service.requests.names import resource_of, tenant_of


def new_request_id() -> str:
    """Returns a new id, by which the log and the client name a request."""
    return os.urandom(16).hex()


@dataclass(slots=True)
class Call:
    """What handlers may know of a request beside its message.

    Attributes:
        deadline: on the event loop's clock; None for a watch that may last.
        local: whether it came from this machine, over loopback or a Unix socket.
        reply_bytes: what the client takes in one message; None for REST, which has no messages.
        caller: who asks.
        rule: what its method needs.
        peer: address of the client; "" for none.
        resource: the name that the request gives.
        hidden_head: name of a head that failed rows alone, since the caller may not see it.
        upload: whether it is a stream of the client's.
        noted: whether the audit log has it.
    """

    method: str
    transport: str
    tenant: str
    deadline: float | None
    request_id: str = field(default_factory=new_request_id)
    local: bool = False
    reply_bytes: int | None = None
    caller: Caller = field(kw_only=True)
    rule: Rule = OPEN_TO_ALL
    peer: str = ""
    resource: str = ""
    hidden_head: str = ""
    upload: bool = False
    noted: bool = False

    def name(self, request: Message) -> None:
        """Takes from a request what it is about."""
        self.tenant = tenant_of(request)
        self.resource = resource_of(request, self.rule)
