"""What each method needs of its caller, as the proto files say with the option ``access``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from service.access.caller import OF_TENANTS, Caller, Role, in_order
from service.errors import PermissionDenied, StartupError
from trunkline.resources import ALL_TENANTS, HeadName, InvalidName, TenantName
from trunkline.v1 import access_pb2

_ROLES = {access_pb2.Role.Value(f"ROLE_{role.name}"): role for role in Role}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a method needs.

    Attributes:
        roles: of which one will do; empty for any of a tenant's.
        resource: the request's field that names the tenant, or what belongs to one; "" for none.
        changes: whether it changes anything.
    """

    roles: frozenset[Role]
    resource: str
    changes: bool

    @classmethod
    def of(cls, method: MethodDescriptor) -> Rule:
        """Reads what a proto file says of a method.

        Raises:
            StartupError: it says nothing, or names a field that the request does not have.
        """
        options = method.GetOptions()
        if not options.HasExtension(access_pb2.access):
            raise StartupError(f"{method.full_name} does not say who may call it")
        option = options.Extensions[access_pb2.access]
        if option.resource and option.resource not in method.input_type.fields_by_name:
            raise StartupError(f"{method.full_name} has no field {option.resource}")
        roles = frozenset(_ROLES[number] for number in option.roles)
        return cls(roles, option.resource, option.changes)

    def check(self, request: Message | None, caller: Caller) -> None:
        """Refuses a request that its caller may not make; nothing but its text is looked at.

        What the caller may not see does not exist, as far as it can tell. So that comes first.

        Args:
            request: None for one that is not read yet: then its roles alone are checked.

        Raises:
            NotFound: it names what the caller may not see.
            PermissionDenied: the key has none of the roles.
            InvalidName: it does not name a tenant where it has to.
        """
        named = getattr(request, self.resource) if self.resource and request is not None else ""
        self.check_name(named, caller)

    def check_name(self, name: str, caller: Caller) -> None:
        """Does the same for a request that is not read yet, where its resource is known.

        Args:
            name: of the resource; "" for none.
        """
        if caller.operates:
            return
        if self.resource:
            self._check_resource(name, caller)
        roles = self.roles or OF_TENANTS
        if not roles & caller.roles:
            wanted = " or ".join(in_order(roles))
            raise PermissionDenied(
                f"authorization: the key needs the role {wanted}",
                field="authorization",
                limit=wanted,
                value=",".join(in_order(caller.roles)) or None,
            )

    def _check_resource(self, text: str, caller: Caller) -> None:
        if text in ("", ALL_TENANTS):
            return  # lists leave out what the caller may not see; elsewhere it is no name
        parts = text.split("/", 4)
        try:
            if len(parts) < 4:
                caller.check_tenant(TenantName.parse("/".join(parts[:2])).tenant)
            else:
                caller.check_head(_head("/".join(parts[:4])))
        except InvalidName as error:
            raise InvalidName(self.resource, error.limit, text) from error


@lru_cache(maxsize=4096)
def _head(name: str) -> HeadName:
    return HeadName.parse(name)


OPEN_TO_ALL = Rule(frozenset(), "", changes=False)
"""What needs nothing, and changes nothing."""
