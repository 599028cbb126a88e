"""Settings of the extraction service, alone or inside the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode

from models import BackboneError, InputLimits, check_backbones
from service.addresses import is_loopback, is_origin
from service.config.sources import MIB, Settings, default_cache_dir, read_secret
from service.tls import TlsFiles, read
from trunkline.connection.addresses import socket_path_fault

GRPC_OVERHEAD_BYTES = 64 * 1024
GRPC_MARGIN_BYTES = 8 * MIB
"""gRPC itself takes so much more than ``max_message_bytes``, so that our error is the one told."""
MIN_SHARED_KEY = 16
JSON_OVERHEAD = 1.4  # base64 takes 4 bytes for 3

_REFUSED = ": a full request would be refused for ever"
_AT_LEAST = (
    ("max_queued_rows_per_tenant", "max_rows_per_request", _REFUSED),
    ("max_queued_rows", "max_queued_rows_per_tenant", ""),
    ("max_queued_bytes", "max_message_bytes", _REFUSED),
)


class ExtractorSettings(Settings):
    """Settings of the extraction service, alone or inside the server."""

    host: str = "127.0.0.1"
    """Address to listen on. Beyond loopback callers need a key, or of an extractor the shared key
    or a certificate of ``tls_client_ca``, unless ``--insecure`` is said."""

    insecure: bool = False
    """Ask nobody for a key, also beyond loopback: whoever reaches the port is trusted."""

    extractor_key_file: Path | None = None
    """A file with the key that a server and the extractor it uses share: the server shows it, the
    extractor asks for it. At least 16 characters, such as of ``openssl rand -hex 20``."""

    tls_cert: Path | None = None
    """A certificate in PEM, with those between it and its authority: all ports but Unix sockets
    then speak TLS, and nothing else. Read again whenever the file changes."""

    tls_key: Path | None = None
    """The private key of ``tls_cert`` in PEM, without a passphrase."""

    tls_client_ca: Path | None = None
    """Authorities in PEM (mutual TLS): whoever has no certificate of theirs is not talked to, on
    all ports and whatever is asked for, probes and metrics included."""

    allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins of web pages that may send requests besides the server's own, such as
    ``https://models.example.org`` where a proxy publishes it under that name. Whoever can put a
    page there acts as whoever looks at it."""

    backbone: Annotated[tuple[str, ...], NoDecode] = ("efficientnet/lite0", "minilm/l6-v2")
    """Backbones to load: the two that come with Trunkline, names of the catalogue file, or such as
    ``torchvision/resnet18``, ``timm/resnet18.a1_in1k``, ``huggingface/bert-base-uncased``. Each
    takes memory for its weights; requests for others are refused."""

    catalogue: Path | None = None
    """A TOML file that names and configures further backbones."""

    engine: Literal["auto", "onnxruntime", "torch"] = "auto"
    """What runs the backbones: ``auto`` takes torch on a GPU and ONNX Runtime on a CPU."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the backbones run."""

    cache_dir: Path = Field(default_factory=default_cache_dir)
    """Where exported engines are kept. Losing it costs one export at the next start."""

    offline: bool = False
    """Download nothing: a backbone whose weights are not on this machine is refused, with what to
    put where. Weights come from torchvision's, timm's and Hugging Face's servers otherwise."""

    threads: int = Field(default=1, ge=0, le=256)
    """Threads of one forward pass on a CPU; 0 takes all cores. One gives the highest rate, because
    threads that share a pass wait for each other; more make a lone request faster."""

    passes: int = Field(default=0, ge=0, le=256)
    """Forward passes at once; 0 takes as many as fill the cores, and one on a GPU. More than fill
    the cores slow each other down."""

    decode_threads: int = Field(default=0, ge=0, le=256)
    """Threads that decode inputs; 0 takes half of the cores. Too few starve the backbone, too many
    take the cores from it. One more decodes what is slow, such as very large images."""

    max_batch_rows: int = Field(default=0, ge=0, le=4096)
    """Rows in one batch; 0 takes 4 images or 16 texts on a CPU, and 64 of either on a GPU. Too low
    wastes the device; too high delays whoever waits behind it, and on a CPU leaves cores idle while
    the next is decoded."""

    max_batch_cost: int = Field(default=64 * 224 * 224, ge=1)
    """Pixels in one batch of images; bounds the memory of a forward pass. Backbones whose images
    are larger are not loaded."""

    max_batch_tokens: int = Field(default=0, ge=0)
    """Tokens in one batch of texts, padding included; 0 takes 1024 on a CPU and 16384 on a GPU, or
    the longest text if that is more. Too high delays whoever waits behind long texts; backbones
    that take longer texts are not loaded."""

    batch_window_ms: float = Field(default=0.0, ge=0, le=1000)
    """How long a first row waits for company. Every idle request pays it in full."""

    max_queued_rows_per_tenant: int = Field(default=2048, ge=1)
    """Rows of one tenant inside the pipeline. Beyond it: RESOURCE_EXHAUSTED with a retry hint."""

    max_queued_rows: int = Field(default=16384, ge=1)
    """Rows of all tenants inside the pipeline. Beyond it everybody is refused for a while."""

    max_queued_bytes: int = Field(default=1024 * MIB, ge=MIB)
    """Bytes of inputs inside the pipeline; bounds the memory that waiting inputs take."""

    tail_cache_bytes: int = Field(default=512 * MIB, ge=MIB)
    """Memory of the device for fine-tuned tails. Too low loads tails again and again, and a tail
    that is larger is refused."""

    request_timeout_seconds: float = Field(default=60.0, gt=0, le=3600)
    """Deadline of a request that names none. Too high lets stuck requests pile up."""

    drain_seconds: float = Field(default=20.0, ge=0, le=600)
    """How long a stopping server lets requests in flight end before it drops them. Supervisors must
    wait 2 s longer before they kill it."""

    max_message_bytes: int = Field(default=64 * MIB, ge=MIB, le=1024 * MIB)
    """Size of one request. It is held in memory whole."""

    max_receiving_bytes: int = Field(default=1024 * MIB, ge=MIB)
    """Bytes of requests, from their arrival to their reply, on both transports together. Beyond it:
    RESOURCE_EXHAUSTED with a retry hint. A gRPC message counts as ``max_message_bytes`` and 8 MiB
    more until it is complete, as its size is not known before. Too low lets few clients send at
    once."""

    max_connections: int = Field(default=1000, ge=16, le=100_000)
    """Connections to each port. Beyond it the REST client that the server has waited for longest
    is disconnected, and gRPC takes no new ones. Where files are short it is lowered, and said."""

    max_calls: int = Field(default=4096, ge=16, le=1_000_000)
    """gRPC calls open at once, health checks not included. Streams may be half of them. Beyond it:
    RESOURCE_EXHAUSTED with a retry hint. On one connection a 32nd of them are open, 16 at least;
    clients wait before they open more. Each may hold 64 KiB before it is read."""

    head_timeout_seconds: float = Field(default=10.0, gt=0, le=600)
    """Time for a new connection to send the headers of a request, or to do gRPC's handshake;
    and later requests theirs, from the first byte. Too low cuts off slow networks."""

    body_timeout_seconds: float = Field(default=60.0, gt=0, le=3600)
    """Time for a body, or one gRPC message, to arrive, and for a client to read a reply.
    Too low cuts off large requests on slow networks."""

    idle_timeout_seconds: float = Field(default=90.0, ge=1, le=86_400)
    """Time after which a connection without a request is closed."""

    max_connection_age_seconds: float = Field(default=0.0, ge=0, le=86_400)
    """Age, give or take a tenth, at which a gRPC client is told to make another connection, so that
    it finds servers that were added behind the same name; 0 for none. Calls under way are not cut:
    they end on the connection before. Too low makes connections all the time."""

    max_rows_per_request: int = Field(default=1024, ge=1, le=100_000)
    """Inputs in one request."""

    max_image_bytes: int = Field(default=16 * MIB, ge=1024)
    """Size of one encoded image."""

    max_pixels: int = Field(default=50_000_000, ge=1)
    """Pixels of one image. Decoding takes up to 16 bytes of memory for each, and most formats 8; a
    large one is decoded alone."""

    max_side: int = Field(default=65_535, ge=1)
    """Pixels of one image's width, and of its height. Decoding also takes time and memory by the
    row: an image of one column and 50 million rows took ten times as long as a square one."""

    max_text_bytes: int = Field(default=65_536, ge=16)
    """UTF-8 bytes of one text. A backbone looks no further than its window; replies say where that
    left anything out."""

    metrics_tenants: int = Field(default=50, ge=0, le=1000)
    """Tenants with metrics of their own; the rest are counted as ``other``."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """``debug`` logs every request."""

    log_format: Literal["console", "json"] = "console"
    """``json`` writes one object a line."""

    @field_validator("backbone", "allowed_origins", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return split_commas(value)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.backbone:
            raise ValueError("backbone: at least one is needed")
        if len(set(self.backbone)) != len(self.backbone):
            raise ValueError(f"backbone: named twice in {', '.join(self.backbone)}")
        for origin in self.allowed_origins:
            if not is_origin(origin):
                raise ValueError(
                    "allowed_origins: each must be scheme, host and port, such as "
                    f"https://models.example.org:8443, is {origin!r}"
                )
        try:
            check_backbones(self.backbone, self.catalogue)
        except BackboneError as error:
            raise ValueError(f"backbone: {error}") from error
        if not self.host:
            raise ValueError("host: must be an address, is ''")
        self.extractor_key()
        self._check_tls()
        for name, least_name, otherwise in _AT_LEAST:
            value, least = getattr(self, name), getattr(self, least_name)
            if value < least:
                raise ValueError(
                    f"{name}: must be at least {least_name} ({least}), is {value}{otherwise}"
                )
        least = int(2 * JSON_OVERHEAD * self.max_message_bytes) + 2 * GRPC_MARGIN_BYTES
        if self.max_receiving_bytes < least:
            raise ValueError(
                f"max_receiving_bytes: must be at least {least} with max_message_bytes "
                f"{self.max_message_bytes}, is {self.max_receiving_bytes}: a full request that "
                "takes long to send would be refused for ever"
            )
        if self.max_image_bytes + GRPC_OVERHEAD_BYTES > self.max_message_bytes:
            raise ValueError(
                f"max_image_bytes: must leave {GRPC_OVERHEAD_BYTES} bytes of max_message_bytes "
                f"({self.max_message_bytes}) free, is {self.max_image_bytes}"
            )
        return self

    @property
    def tls_files(self) -> TlsFiles | None:
        """The files of TLS of the ports; None if they speak none."""
        names = ("tls_cert", "tls_key", "tls_client_ca")
        files = TlsFiles(self.tls_cert, self.tls_key, self.tls_client_ca, names)
        return files if files.paths else None

    def _check_tls(self) -> None:
        if self.tls_files is None:
            return
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("tls_cert: must be given with tls_client_ca")
        read(self.tls_files)

    def extractor_key(self) -> str:
        """Reads the key that a server and its extractor share; "" if there is none.

        Raises:
            ValueError: the file cannot be read, or its text is no key.
        """
        return read_secret(self.extractor_key_file, "extractor_key_file", MIN_SHARED_KEY)

    @property
    def open_wires(self) -> list[str]:
        """Where keys travel beyond this machine without TLS."""
        return []

    @property
    def input_limits(self) -> InputLimits:
        """The limits that preprocessing enforces."""
        return InputLimits(
            max_image_bytes=self.max_image_bytes,
            max_pixels=self.max_pixels,
            max_side=self.max_side,
            max_text_bytes=self.max_text_bytes,
        )


class StandaloneExtractorSettings(ExtractorSettings):
    """Settings of ``trunkline extractor``."""

    port: int = Field(default=50050, ge=0, le=65535)
    """gRPC port; 0 takes a free one."""

    socket: Path | None = None
    """Listen on this Unix socket instead of a port."""

    metrics_port: int = Field(default=9090, ge=0, le=65535)
    """Port of ``/metrics``; 0 takes a free one."""

    held_tail_bytes: int = Field(default=1024 * MIB, ge=MIB)
    """Memory of the host for the files of tails that servers hand over. Too low makes them send the
    same tail again and again, and one that is larger is refused."""

    @property
    def loopback_only(self) -> bool:
        """Whether this machine alone is served, so that other names of it are foreign."""
        return is_loopback(self.host) and not self.insecure

    @model_validator(mode="after")
    def _check_socket(self) -> Self:
        fault = self.socket and socket_path_fault(self.socket.absolute())
        if fault:
            raise ValueError(f"socket: {fault}; name a shorter one, is {str(self.socket)!r}")
        return self

    @model_validator(mode="after")
    def _check_callers(self) -> Self:
        open_ = self.socket is None and not is_loopback(self.host)
        if open_ and not self.insecure and self.believes_anybody:
            raise ValueError(
                f"host: {self.host} is not loopback: give extractor_key_file, or tls_client_ca, so "
                "that the servers that you know are answered alone; say --insecure if anybody is "
                "meant"
            )
        return self

    @property
    def open_wires(self) -> list[str]:
        """Where keys travel beyond this machine without TLS."""
        beyond = not is_loopback(self.host) and self.tls_cert is None
        return [self.host] if beyond and self.extractor_key_file is not None else []

    @property
    def believes_anybody(self) -> bool:
        """Whether it answers servers that it does not know."""
        by_certificate = self.tls_client_ca is not None and self.socket is None
        return self.extractor_key_file is None and not by_certificate


def split_commas(value: object) -> object:
    """Returns the parts of a setting that is a list, as variables and flags give it: with commas.

    Anything else is returned as it is.
    """
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        return value
    return tuple(name.strip() for part in parts for name in str(part).split(",") if name)
