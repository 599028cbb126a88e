"""How both clients reach the server: channel options, timeouts, metadata."""

from trunkline.errors import InvalidArgument

MAX_MESSAGE_BYTES = 64 * 2**20
DEFAULT_TIMEOUT = 30.0

Metadata = tuple[tuple[str, str], ...]

_LOOPBACK = ("127.", "localhost:", "[::1]:", "unix:")


def channel_options(address: str) -> list[tuple[str, int]]:
    """Returns grpc's options: large messages, dead peers noticed, no long waits to reconnect."""
    options = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]
    if address.startswith(_LOOPBACK):  # no proxy of the environment leads back to this machine
        options.append(("grpc.enable_http_proxy", 0))
    return options


def check_timeout(timeout: float) -> float:
    """Returns the timeout in seconds, if it is positive. Raises `InvalidArgument`."""
    if timeout > 0:
        return timeout
    raise InvalidArgument(
        f"a timeout must be positive, got {timeout}",
        field="timeout",
        limit="> 0",
        value=str(timeout),
    )


def call_metadata(token: str | None) -> Metadata:
    """Returns what goes with every call: the token, and what replies may have."""
    size = ("x-max-reply-bytes", str(MAX_MESSAGE_BYTES))
    return (size, ("authorization", f"Bearer {token}")) if token else (size,)
