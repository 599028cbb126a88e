"""How both clients reach the server: address, channel options, metadata."""

from trunkline.errors import InvalidArgument

MAX_MESSAGE_BYTES = 64 * 2**20
DEFAULT_ADDRESS = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 30.0

Metadata = tuple[tuple[str, str], ...]

_LOOPBACK = ("127.", "localhost:", "[::1]:", "unix:")


def channel_options(address: str) -> list[tuple[str, int]]:
    """Options for grpc: large messages, dead peers noticed, reconnecting without long waits."""
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


def check_address(address: str) -> str:
    """The address, if it has the form `HOST:PORT` or `unix:PATH`. Raises `InvalidArgument`."""
    host, colon, port = address.rpartition(":")
    if address.startswith("unix:") and len(address) > len("unix:"):
        return address
    if host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 2**16:
        return address
    raise InvalidArgument(
        f"not an address: {address!r} (HOST:PORT or unix:PATH)",
        field="server",
        limit="HOST:PORT or unix:PATH",
        value=address,
    )


def check_timeout(timeout: float) -> float:
    """The timeout in seconds, if it is positive. Raises `InvalidArgument`."""
    if timeout > 0:
        return timeout
    raise InvalidArgument(
        f"a timeout must be positive, got {timeout}",
        field="timeout",
        limit="> 0",
        value=str(timeout),
    )


def call_metadata(token: str | None) -> Metadata:
    """What goes with every call."""
    return (("authorization", f"Bearer {token}"),) if token else ()
