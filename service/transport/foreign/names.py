"""What other protocols call a model: a head, or a backbone."""

from __future__ import annotations

import re
from dataclasses import dataclass

from service.access.caller import Caller
from service.errors import InvalidRequest
from trunkline.resources import MAX_VERSION, HeadName, InvalidName

BACKBONES = "backbones/"
"""Begins the name of a backbone's model."""

DEFAULT_TENANT = "default"
"""Whose are inputs of a protocol that names no tenant, where the key has none either."""

_BACKBONE = re.compile("[^/]+/[^/]+")
_VERSION = re.compile("[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a client names.

    Attributes:
        name: as the client gives it, e.g. ``acme/textile`` or ``backbones/minilm/l6-v2``.
        head: "" for a backbone.
        backbone: "" for a head.
        version: of the head; 0 for the active one.
    """

    name: str
    head: str = ""
    backbone: str = ""
    version: int = 0


def read_model(name: str, version: str = "") -> Model:
    """Reads the name of a model, and its version.

    Raises:
        InvalidRequest: the version is none.
        InvalidName: it is no such name.
    """
    number = _read_version(version)
    backbone = name.removeprefix(BACKBONES)
    if backbone != name and _BACKBONE.fullmatch(backbone):
        if number > 1:
            raise InvalidRequest.at(
                "model_version", "a backbone has the version {limit} alone, is {value}", 1, number
            )
        return Model(name, backbone=backbone)
    try:
        return Model(name, head=str(HeadName.read(name)), version=number)
    except InvalidName as error:
        form = "TENANT/HEAD or backbones/FAMILY/VARIANT"
        raise InvalidName("model_name", form, name) from error


def head_in(name: str) -> str:
    """Returns the head that a model's name names, unchecked; "" for a backbone's."""
    tenant, _, head = name.partition("/")
    return "" if "/" in head else f"tenants/{tenant}/heads/{head}"


def tenant_of_caller(caller: Caller) -> str:
    """Returns the name of the tenant of whoever asks, where the request names none."""
    return f"tenants/{caller.tenant or DEFAULT_TENANT}"


def _read_version(text: str) -> int:
    if not text:
        return 0
    if not _VERSION.fullmatch(text) or int(text) > min(MAX_VERSION, 2**32 - 1):
        raise InvalidRequest.at(
            "model_version", "must be {limit}, is {value!r}", "a whole number above 0", text
        )
    return int(text)
