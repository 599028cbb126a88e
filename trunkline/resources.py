"""Resource names: parsed once, checked once, the same on both ends of the wire.

    tenants/{tenant}
    tenants/{tenant}/heads/{head}
    tenants/{tenant}/heads/{head}/versions/{version}      a positive integer, or "active"
    tenants/{tenant}/heads/{head}/trainings/{training}
    keys/{key}

A list over all tenants has `tenants/-` in the place of one (AIP-159): no tenant's id is a dash.
`str(name)` gives the text back. Every parser raises `InvalidName`, which names field, limit
and value.
"""

import re
from dataclasses import dataclass
from typing import Self

ID_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
ACTIVE = "active"
ALL = "-"
ALL_TENANTS = f"tenants/{ALL}"
MAX_VERSION = 2**63 - 1

_ID = re.compile(ID_PATTERN.strip("^$"))
_VERSION = re.compile("[1-9][0-9]{0,18}")
_SHOWN = 100


class InvalidName(ValueError):
    """A resource name or id that does not have its form.

    `field` is the request's field, `limit` the form it must have, `value` what it had (shortened).
    """

    def __init__(self, field: str, limit: str, value: str) -> None:
        self.field = field
        self.limit = limit
        self.value = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
        super().__init__(f"{field} must match {limit}, got {self.value!r}")


def check_id(text: str, *, field: str) -> str:
    """Gives back `text` if it is a valid tenant, head or training id; raises `InvalidName`."""
    if not _ID.fullmatch(text):
        raise InvalidName(field, ID_PATTERN, text)
    return text


@dataclass(frozen=True, order=True)
class TenantName:
    """`tenants/{tenant}`."""

    tenant: str

    def __post_init__(self) -> None:
        check_id(self.tenant, field="tenant")

    @classmethod
    def parse(cls, text: str, *, field: str = "tenant") -> Self:
        """Reads the full name."""
        (tenant,) = _ids("tenants/{tenant}", text, field)
        return cls(tenant)

    @classmethod
    def read(cls, text: str, *, field: str = "tenant") -> Self:
        """Reads what a person types: `acme` or the full name."""
        return cls.parse(text if "/" in text else f"tenants/{text}", field=field)

    def head(self, head: str) -> "HeadName":
        """Returns the name of one of the tenant's heads."""
        return HeadName(self.tenant, head)

    def __str__(self) -> str:
        return f"tenants/{self.tenant}"


@dataclass(frozen=True, order=True)
class HeadName:
    """`tenants/{tenant}/heads/{head}`."""

    tenant: str
    head: str

    def __post_init__(self) -> None:
        check_id(self.tenant, field="tenant")
        check_id(self.head, field="head_id")

    @classmethod
    def parse(cls, text: str, *, field: str = "head") -> Self:
        """Reads the full name."""
        tenant, head = _ids("tenants/{tenant}/heads/{head}", text, field)
        return cls(tenant, head)

    @classmethod
    def read(cls, text: str, *, field: str = "head") -> Self:
        """Reads what a person types: `acme/defects` or the full name."""
        tenant, slash, head = text.partition("/")
        if text.startswith("tenants/") and text.count("/") > 1:
            return cls.parse(text, field=field)
        if not slash or not _ID.fullmatch(tenant) or not _ID.fullmatch(head):
            raise InvalidName(field, "TENANT/HEAD", text)
        return cls(tenant, head)

    @property
    def parent(self) -> TenantName:
        """The tenant's name."""
        return TenantName(self.tenant)

    @property
    def short(self) -> str:
        """`{tenant}/{head}`, as the command line writes it."""
        return f"{self.tenant}/{self.head}"

    def version(self, version: int | None) -> "VersionName":
        """Returns the name of a version; None for the active one."""
        return VersionName(self, version)

    def __str__(self) -> str:
        return f"tenants/{self.tenant}/heads/{self.head}"


@dataclass(frozen=True)
class VersionName:
    """`tenants/{tenant}/heads/{head}/versions/{version}`; None stands for the active one."""

    parent: HeadName
    version: int | None

    def __post_init__(self) -> None:
        if self.version is not None and not 1 <= self.version <= MAX_VERSION:
            raise InvalidName("version", "a positive integer", str(self.version))

    @classmethod
    def parse(cls, text: str, *, field: str = "name") -> Self:
        """Reads the full name."""
        form = "tenants/{tenant}/heads/{head}/versions/{version}"
        tenant, head, version = _ids(form, text, field)
        if version == ACTIVE:
            return cls(HeadName(tenant, head), None)
        if not _VERSION.fullmatch(version):
            raise InvalidName(field, form, text)
        return cls(HeadName(tenant, head), int(version))

    def __str__(self) -> str:
        return f"{self.parent}/versions/{self.version or ACTIVE}"


@dataclass(frozen=True)
class TrainingName:
    """`tenants/{tenant}/heads/{head}/trainings/{training}`."""

    parent: HeadName
    training: str

    def __post_init__(self) -> None:
        check_id(self.training, field="training")

    @classmethod
    def parse(cls, text: str, *, field: str = "name") -> Self:
        """Reads the full name."""
        form = "tenants/{tenant}/heads/{head}/trainings/{training}"
        tenant, head, training = _ids(form, text, field)
        return cls(HeadName(tenant, head), training)

    def __str__(self) -> str:
        return f"{self.parent}/trainings/{self.training}"


@dataclass(frozen=True)
class KeyName:
    """`keys/{key}`."""

    key: str

    def __post_init__(self) -> None:
        check_id(self.key, field="name")

    @classmethod
    def parse(cls, text: str, *, field: str = "name") -> Self:
        """Reads the full name."""
        (key,) = _ids("keys/{key}", text, field)
        return cls(key)

    @classmethod
    def read(cls, text: str, *, field: str = "name") -> Self:
        """Reads what a person types: the id or the full name."""
        return cls.parse(text if "/" in text else f"keys/{text}", field=field)

    def __str__(self) -> str:
        return f"keys/{self.key}"


def _ids(form: str, text: str, field: str) -> list[str]:
    """Reads the ids in `text`, of the same segments as `form`, e.g. `tenants/{tenant}`."""
    expected = form.split("/")
    given = text.split("/", len(expected))  # a text may be of nothing but slashes
    same = len(expected) == len(given) and expected[::2] == given[::2]
    if not same or not all(_ID.fullmatch(part) for part in given[1::2]):
        raise InvalidName(field, form, text)
    return given[1::2]
