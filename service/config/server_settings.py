"""Settings of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode
from sqlalchemy import URL

from service.addresses import host_of, is_loopback, is_network
from service.config.extractor_settings import ExtractorSettings, split_commas
from service.config.label_studio_settings import LabelStudioSettings
from service.config.shared_cache_settings import SharedCacheSettings
from service.config.sources import MIB
from service.config.store_address import store_url
from service.config.urls import SecretUrl
from service.tls import TlsFiles, read
from trunkline.connection.addresses import address_fault, host_and_port, is_encrypted

LEAST_COST_PER_SECOND = 0.001


class ServerSettings(ExtractorSettings, SharedCacheSettings, LabelStudioSettings):
    """Settings of ``trunkline serve``."""

    data_dir: Path = Path("trunkline-data")
    """Where everything durable lives. One server at a time."""

    auth: Literal["auto", "required"] = "auto"
    """Whether calls need a key. ``auto``: beyond loopback always, and on loopback from the first
    key on that is made. Where they do and there is none, an operator's key is made at the start,
    and its file is named."""

    audit: Literal["auto", "on", "off"] = "auto"
    """Whether changes and refusals are noted in the audit log. ``auto``: wherever calls need a
    key."""

    audit_retention_days: int = Field(default=90, ge=1, le=36_500)
    """Days after which a row of the audit log is deleted. Too many let the store grow: a row takes
    some 300 bytes."""

    audit_file: Path | None = None
    """A file to which rows of the audit log are appended, too, as JSON lines. It is opened anew
    each time, so that it may be rotated at any time."""

    store: SecretUrl = None
    """Address of a PostgreSQL database that has the store, such as
    ``postgresql+psycopg://trunkline@db.example.org/trunkline?sslmode=verify-full``; without one the
    store is a file in ``data_dir``. See docs/postgresql.md."""

    store_password_file: Path | None = None
    """A file with the password for ``store`` in its first line, read for each connection. Without
    one libpq looks for it as ever: in the address, ``PGPASSWORD``, or the file ``PGPASSFILE``."""

    store_connections: int = Field(default=10, ge=2, le=100)
    """Connections to PostgreSQL, half of them for reads; three more are for what servers tell one
    another. Too few let calls wait for one another, too many are more than PostgreSQL takes
    (``max_connections``)."""

    new_store: bool = False
    """Begin with an empty store although files of an earlier one lie in ``data_dir``. Meant for one
    start: where a store is there it changes nothing, and where one is lost nothing says so."""

    disk_reserve_bytes: int = Field(default=64 * MIB, ge=MIB)
    """Room on the disk that is kept for deletions on a full one, at most half of what is free at
    the first start. Too low lets people delete only little at a time then: as many bytes as are
    deleted go through the journal."""

    grpc_port: int = Field(default=50051, ge=0, le=65535)
    """gRPC port; 0 takes a free one."""

    rest_port: int = Field(default=3000, ge=0, le=65535)
    """REST port; 0 takes a free one."""

    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses, or networks such as ``10.0.0.0/24``, of proxies in front of REST: what they say of
    a request in ``X-Forwarded-For`` and ``X-Forwarded-Proto`` is believed, and of nobody else.
    Whoever can send from one passes for any address."""

    extractor: str | None = None
    """Address of a remote extraction service (``host:port``, ``https://host:port`` or
    ``unix:PATH``) to use; ``dns:///host:port`` for several of one name, of which one is drawn
    by lot for some minutes, and another where it does not serve."""

    extractor_tls_ca: Path | None = None
    """Authorities in PEM of whom the extractor must have its certificate; by default those that the
    system trusts. Whoever names this or the next file means TLS, with ``https://`` or without."""

    extractor_tls_cert: Path | None = None
    """The certificate in PEM that the extractor is shown (mutual TLS)."""

    extractor_tls_key: Path | None = None
    """The private key of ``extractor_tls_cert`` in PEM. Not to be taken for
    ``extractor_key_file``, the key that both share."""

    workers: int = Field(default=1, ge=1, le=256)
    """Processes that serve. More than one share the ports, the store and one extraction process;
    each takes the memory of its own caches, and connections take turns with them."""

    embedding_cache_bytes: int = Field(default=512 * MIB, ge=0)
    """Memory for embeddings of inputs seen before; 0 switches the cache off."""

    head_cache_bytes: int = Field(default=256 * MIB, ge=MIB)
    """Memory for heads. Too low reads weights from the store again and again."""

    live_cache_bytes: int = Field(default=256 * MIB, ge=0)
    """Memory for live copies, which learn from feedback. Too low makes them anew from the store
    again and again: some 0.1 to 1 s of computing for each."""

    neighbour_cache_bytes: int = Field(default=256 * MIB, ge=0)
    """Memory for embeddings of examples that similar ones are looked for among. A head whose
    examples have no room in it is read from the store for each search."""

    live_threads: int = Field(default=2, ge=1, le=64)
    """Threads for live copies: half of them, at least one, learn feedback, and as many make copies
    and versions. Too few let heads with feedback wait for one another, too many take the cores
    from predictions."""

    live_error_rate: float = Field(default=0.05, gt=0, lt=1)
    """How often a live copy that is no better may ever be called better, or one that is no worse
    be called worse. Too high lets luck decide; too low waits for more feedback."""

    drift_delta: float = Field(default=0.002, gt=0, lt=1)
    """Confidence of the drift detector (ADWIN). Too high takes bad luck for a change and makes live
    copies forget; too low notices changes late."""

    fit_threads: int = Field(default=1, ge=1, le=256)
    """Threads of the training process, which is niced. On cores that are busy more are slower."""

    fit_timeout_seconds: float = Field(default=3600.0, gt=0)
    """A training that takes longer has failed."""

    tune_threads: int = Field(default=1, ge=1, le=256)
    """Threads of a process that fine-tunes on a CPU; it is niced, and there is one at a time. More
    make it end sooner, and leave less of the cores to predictions."""

    tune_timeout_seconds: float = Field(default=24 * 3600.0, gt=0)
    """A fine-tuning that takes longer, activations included, has failed."""

    child_silence_seconds: float = Field(default=60.0, ge=10, le=3600)
    """A process that fits, tunes or advises gives a sign of life every second. One that gives none
    for so long is ended, and its work has failed. Too low ends sound ones on a busy machine."""

    activation_cache_bytes: int = Field(default=8 * 1024 * MIB, ge=0)
    """Disk for activations that tails are tuned on: an image takes 44 KB on EfficientNet-Lite0, and
    so does each view. A head that needs more cannot be tuned; too low computes them again
    and again."""

    max_classes: int = Field(default=1000, ge=2, le=100_000)
    """Labels of one head. Training time and weights grow with it."""

    max_examples_per_head: int = Field(default=100_000, ge=2)
    """Examples of one head. A training holds all their embeddings in memory."""

    max_versions_per_head: int | None = Field(default=None, ge=3)
    """Versions of one head; none for any number. With one made beyond it the oldest go, and the
    reply names them: never the active one, the one that was before it, and pinned ones. Too low
    leaves little to roll back to."""

    max_label_bytes: int = Field(default=256, ge=1, le=4096)
    """UTF-8 bytes of one label."""

    max_advice_examples: int = Field(default=5000, ge=4, le=20_000)
    """Examples that an advice looks at; of more, a sample. Time grows with them, and memory with
    their square."""

    max_advice_bytes: int = Field(default=256 * MIB, ge=MIB)
    """Bytes of inputs that an advice holds, 4 of them at once; beyond, the sample is smaller."""

    tenant_cost_per_second: float = Field(default=0.0, ge=0, le=1e12)
    """Cost units that each tenant may use in a second, unless ``trunkline tenants set`` says
    otherwise; 0 for no bound. One is what an image of 224 x 224 pixels takes."""

    tenant_cost_burst: float = Field(default=0.0, ge=0, le=1e12)
    """Cost units that a tenant which used less may use at once; 0 for those of 10 seconds."""

    tenant_rows_in_flight: int = Field(default=0, ge=0)
    """Rows of each tenant inside the pipeline; 0 for no bound beside
    ``max_queued_rows_per_tenant``."""

    tenant_examples: int = Field(default=0, ge=0)
    """Examples that each tenant may store; 0 for no bound."""

    tenant_stored_bytes: int = Field(default=0, ge=0)
    """Bytes of inputs, embeddings, weights and tails that each tenant may store; 0 for no bound."""

    capture_queued_bytes: int = Field(default=64 * MIB, ge=0)
    """Memory for captured inputs that wait to be written; what does not fit is not kept."""

    usage_days: int = Field(default=400, ge=1)
    """Days for which it is kept what tenants used, by the hour."""

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_proxies(cls, value: object) -> object:
        return split_commas(value)

    @field_validator("store")
    @classmethod
    def _check_store(cls, value: str | None) -> str | None:
        if value is not None:
            store_url(value)
        return value

    @property
    def store_url(self) -> URL | None:
        """Where the store is; None for ``data_dir``."""
        return None if self.store is None else store_url(self.store)

    @property
    def extractor_tls_files(self) -> TlsFiles | None:
        """The files of TLS of the link to the extractor; None if it is not encrypted."""
        names = ("extractor_tls_cert", "extractor_tls_key", "extractor_tls_ca")
        cert, key, ca = (getattr(self, name) for name in names)
        files = TlsFiles(cert, key, ca, names)
        return files if files.paths or is_encrypted(self.extractor or "") else None

    @property
    def open_wires(self) -> list[str]:
        """Where keys and passwords travel beyond this machine without TLS."""
        callers = not self.insecure and not is_loopback(self.host) and self.tls_cert is None
        away = self.extractor or "unix:"
        beyond = not away.startswith("unix:") and not is_loopback(host_of(host_and_port(away)))
        shown = self.extractor_key_file is not None and self.extractor_tls_files is None
        cache = self.shared_cache_address
        told = cache is not None and cache.is_open and bool(cache.password)
        return [
            *([self.host] if callers else []),
            *([away] if beyond and shown else []),
            *([str(cache)] if told else []),
        ]

    @property
    def keys_required(self) -> bool:
        """Whether calls need a key although there is none yet."""
        return self.auth == "required" or not is_loopback(self.host)

    @property
    def loopback_only(self) -> bool:
        """Whether this machine alone is served, so that other names of it are foreign."""
        return not (self.insecure or self.keys_required)

    @model_validator(mode="after")
    def _check_wires(self) -> Self:
        for proxy in self.trusted_proxies:
            if not is_network(proxy):
                raise ValueError(
                    "trusted_proxies: each must be an IP address or a network, such as "
                    f"10.0.0.0/24, is {proxy!r}"
                )
        fault = self.extractor is not None and address_fault(self.extractor)
        if fault:
            raise ValueError(f"extractor: {self.extractor!r} {fault}")
        files = self.extractor_tls_files
        if files is None:
            return self
        named = next((n for n in files.names if getattr(self, n) is not None), "extractor")
        if self.extractor is None:
            raise ValueError(f"{named}: must be given with extractor")
        if self.extractor.startswith("unix:"):
            raise ValueError(f"{named}: a Unix socket is not encrypted, is {self.extractor!r}")
        read(files)
        return self

    @model_validator(mode="after")
    def _check_auth(self) -> Self:
        if self.insecure and self.auth == "required":
            raise ValueError("auth: cannot be required with insecure, which asks nobody for a key")
        return self

    @model_validator(mode="after")
    def _check_store_password(self) -> Self:
        if self.store_password_file is not None and self.store is None:
            raise ValueError("store_password_file: must be given with store")
        return self

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        if self.workers > 1 and self.store is not None:
            raise ValueError(
                f"workers: 1 with a store in PostgreSQL, which servers share as they are: start "
                f"several, is {self.workers}"
            )
        return self

    @model_validator(mode="after")
    def _check_audit(self) -> Self:
        if self.audit == "off" and self.audit_file is not None:
            raise ValueError("audit_file: must not be given with audit off, which notes nothing")
        return self

    @model_validator(mode="after")
    def _check_quotas(self) -> Self:
        if 0 < self.tenant_cost_per_second < LEAST_COST_PER_SECOND:
            raise ValueError(
                f"tenant_cost_per_second: 0 for no bound, or at least {LEAST_COST_PER_SECOND}, is "
                f"{self.tenant_cost_per_second}"
            )
        return self
