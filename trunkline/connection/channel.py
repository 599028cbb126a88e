"""How both clients reach the server: channel options, timeouts, metadata."""

import re

from google.protobuf.message import Message

from trunkline.connection.addresses import is_balanced
from trunkline.connection.proxies import is_on_this_machine
from trunkline.errors import InvalidArgument, InvalidType

MAX_MESSAGE_BYTES = 64 * 2**20
DEFAULT_TIMEOUT = 30.0
LONGEST_TIMEOUT = 10**8
"""Seconds, some three years; gRPC takes much longer ones, such as infinity, for none left."""

Metadata = tuple[tuple[str, str], ...]


TENANT = "x-trunkline-tenant"
"""Names the tenant that a call is about, for proxies that balance by it. The server takes it from
the request alone."""

_NAMING = ("head", "name", "tenant", "parent")
_OF_TENANT = re.compile(r"tenants/([A-Za-z0-9][A-Za-z0-9_.-]*)(/|$)")
_ROUND_ROBIN = '{"loadBalancingConfig": [{"round_robin": {}}]}'


def channel_options(target: str) -> list[tuple[str, int | str]]:
    """Returns grpc's options: large messages, dead peers noticed, no long waits to reconnect.

    Calls to an address that stands for several servers take turns among them.
    """
    options: list[tuple[str, int | str]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # A server that hangs ends calls after 20 s. It permits pings every 5 s; without the second
        # timeout, a minute by default, the first has no effect.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # How long one attempt may take, whatever the name: a busy or far server needs more than
        # the first backoff.
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    if is_on_this_machine(target):
        options.append(("grpc.enable_http_proxy", 0))
    if is_balanced(target):
        options.append(("grpc.service_config", _ROUND_ROBIN))
        # Names are looked up again after a connection has ended, but half a minute apart: in that
        # time a rolling restart may have replaced every server.
        options.append(("grpc.dns_min_time_between_resolutions_ms", 1_000))
    return options


def check_timeout(timeout: float) -> float:
    """Returns the timeout in seconds, if it is one. Raises `InvalidArgument`."""
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if number and 0 < timeout <= LONGEST_TIMEOUT:
        return timeout
    kind = InvalidArgument if number else InvalidType
    limit = f"above 0, at most {LONGEST_TIMEOUT} s"
    raise kind(
        f"a timeout must be {limit}, is {ascii(timeout)[:100]}",
        field="timeout",
        limit=limit,
        value=ascii(timeout)[:100],
    )


def call_metadata(token: str | None) -> Metadata:
    """Returns what goes with every call: the token, and what replies may have.

    Raises `InvalidArgument` for a token that no header can carry; it is not shown.
    """
    size = ("x-max-reply-bytes", str(MAX_MESSAGE_BYTES))
    if not token:
        return (size,)
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise InvalidArgument(
            "token must be printable ASCII, without a line break", field="token", limit="ASCII"
        )
    return (size, ("authorization", f"Bearer {token}"))


def metadata_for(request: Message, metadata: Metadata) -> Metadata:
    """Returns the metadata of a call, with the tenant that the request names, if it names one."""
    fields = request.DESCRIPTOR.fields_by_name
    for field in _NAMING:
        if field in fields and (named := _OF_TENANT.match(getattr(request, field))):
            return (*metadata, (TENANT, named[1]))
    return metadata
