"""How both clients reach the server: address, channel options, metadata."""

from trunkline.errors import InvalidArgument

MAX_MESSAGE_BYTES = 64 * 2**20
DEFAULT_ADDRESS = "127.0.0.1:50051"
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


def check_address(address: str) -> str:
    """Returns the address if it is `HOST:PORT` or `unix:PATH`. Raises `InvalidArgument`."""
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
    """Returns what goes with every call."""
    return (("authorization", f"Bearer {token}"),) if token else ()
