"""What requests are about, by the names that they give."""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.message import Message

from service.access.rules import Rule
from trunkline.resources import InvalidName, TenantName

MAX_NAME = 256
"""No resource name is longer."""


def tenant_of(request: Message | None) -> str:
    """Returns the tenant that a request names, or "" for none or a malformed one."""
    for name in ("head", "tenant", "parent", "name"):
        value = getattr(request, name, "")
        if isinstance(value, str) and value.startswith("tenants/"):
            return tenant_in(value) if len(value) <= MAX_NAME else ""
    return ""


def resource_of(request: Message, rule: Rule) -> str:
    """Returns the name of what a request is about, as it gives it; "" for none."""
    name: str = getattr(request, rule.resource or "name", "")
    head = getattr(request, "head_id", "") if rule.changes else ""
    return f"{name}/heads/{head}" if head else name


@lru_cache(maxsize=4096)
def tenant_in(resource: str) -> str:
    """Returns the tenant in a resource name, or "" for none or a malformed one."""
    try:
        return TenantName.parse("/".join(resource.split("/", 2)[:2])).tenant
    except InvalidName:
        return ""
