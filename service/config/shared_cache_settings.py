"""Settings of what servers share in Redis or Valkey."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from service.config.sources import MIB, Settings
from service.config.urls import SecretUrl
from service.shared.address import RedisAddress
from service.tls import TlsFiles, read

_TLS = ("shared_cache_tls_cert", "shared_cache_tls_key", "shared_cache_tls_ca")


class SharedCacheSettings(Settings):
    """Settings of what servers share in Redis or Valkey."""

    shared_cache: SecretUrl = None
    """A Redis or Valkey server where servers share embeddings and what tenants may still use:
    ``redis://host:6379/0``, ``rediss://user:password@host`` (TLS) or ``unix:///PATH``. Say a
    password in the variable or the file, as flags are seen by all who list processes. While it is
    away each server has its own."""

    shared_cache_tls_ca: Path | None = None
    """Authorities in PEM of whom the shared cache must have its certificate; by default those that
    the system trusts."""

    shared_cache_tls_cert: Path | None = None
    """The certificate in PEM that the shared cache is shown (mutual TLS)."""

    shared_cache_tls_key: Path | None = None
    """The private key of ``shared_cache_tls_cert`` in PEM."""

    shared_cache_ttl_seconds: float = Field(default=7 * 86_400.0, ge=1, le=365 * 86_400)
    """Time after which an embedding in the shared cache is gone. Too low computes the same inputs
    again and again; too high keeps what nobody asks for until its memory is full."""

    shared_cache_timeout_ms: float = Field(default=100.0, gt=0, le=10_000)
    """Time that the shared cache has for an answer, beside 50 ms for each MB of it. Beyond it, it
    is left alone for a second, then twice as long each time, up to 30. Too low leaves out one that
    is merely busy; too high holds up requests while it hangs."""

    shared_cache_queued_bytes: int = Field(default=16 * MIB, ge=64 * 1024)
    """Memory for embeddings on their way to the shared cache. Beyond it they are not put there."""

    @property
    def shared_cache_address(self) -> RedisAddress | None:
        """Where the shared cache is; None if there is none."""
        return None if self.shared_cache is None else RedisAddress.parse(self.shared_cache)

    @property
    def shared_cache_tls_files(self) -> TlsFiles | None:
        """The files of TLS of the link to the shared cache; None if there are none."""
        cert, key, ca = (getattr(self, name) for name in _TLS)
        files = TlsFiles(cert, key, ca, _TLS)
        return files if files.paths else None

    @model_validator(mode="after")
    def _check_shared_cache(self) -> Self:
        try:
            address = self.shared_cache_address
        except ValueError as error:
            raise ValueError(f"shared_cache: {error}") from None
        files = self.shared_cache_tls_files
        if files is None:
            return self
        named = next(name for name in _TLS if getattr(self, name) is not None)
        if address is None:
            raise ValueError(f"{named}: must be given with shared_cache")
        if not address.tls:
            raise ValueError(f"{named}: shared_cache must be rediss://…, is {address}")
        read(files)
        return self
