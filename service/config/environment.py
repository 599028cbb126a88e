"""Variables of the environment that begin as settings do: which are settings, and which are not."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping

PREFIX = "TRUNKLINE_"
OF_OTHERS = frozenset({"CONFIG", "SERVER", "TOKEN", "CA", "CLIENT_CERT", "CLIENT_KEY"})
"""The file of settings; and what the client reads."""

_SERVICE_LINK = re.compile(
    r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_LINKED_PORT = re.compile(r"(tcp|udp|sctp)://.*")


def is_service_link(name: str, value: str) -> bool:
    """Returns whether Kubernetes has set a variable, for a Service that is called trunkline.

    It tells every container of the namespace of such a Service, and some names are those of
    settings (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).

    Args:
        name: of the variable, in any case.
    """
    rest = name.upper().removeprefix(PREFIX)
    return bool(_SERVICE_LINK.fullmatch(rest) or (rest == "PORT" and _LINKED_PORT.fullmatch(value)))


def unknown_variables(
    settings: Iterable[str], environment: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yields variables that begin as settings do and are none, each with the nearest setting's.

    The nearest is empty where none is near.
    """
    known = sorted({name.upper() for name in settings} | OF_OTHERS)
    for variable, value in sorted(environment.items()):
        name = variable.upper().removeprefix(PREFIX)
        ours = variable.upper().startswith(PREFIX)
        if ours and name not in known and not is_service_link(variable, value):
            near = nearest(name, known)
            yield variable, PREFIX + near if near else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns the known name that a misspelt one was meant for; empty where none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), "")
