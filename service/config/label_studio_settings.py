"""Settings of the Label Studio whose pictures the server fetches."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator

from service.addresses import is_origin
from service.config.sources import Settings, read_secret


class LabelStudioSettings(Settings):
    """Settings of the Label Studio whose pictures the server fetches."""

    label_studio_url: str | None = None
    """Where Label Studio is, ``http://host:port`` or ``https://host``: pictures that its tasks name
    by address are fetched from there alone. Without it, tasks of texts are answered, and pictures
    that are sent along."""

    label_studio_token_file: Path | None = None
    """A file with the token that Label Studio knows: it is shown when a picture is fetched."""

    @property
    def label_studio_origin(self) -> str:
        """Scheme, host and port of Label Studio; "" if nothing is fetched."""
        return (self.label_studio_url or "").rstrip("/")

    def label_studio_token(self) -> str:
        """Reads the token; "" if there is none.

        Raises:
            ValueError: the file cannot be read, or its text is no token.
        """
        return read_secret(self.label_studio_token_file, "label_studio_token_file")

    @model_validator(mode="after")
    def _check_label_studio(self) -> Self:
        if self.label_studio_url is not None and not is_origin(self.label_studio_origin):
            raise ValueError(
                "label_studio_url: must be http://HOST:PORT or https://HOST, without a path, is "
                f"{self.label_studio_url!r}"
            )
        if self.label_studio_token_file is not None and self.label_studio_url is None:
            raise ValueError("label_studio_token_file: must be given with label_studio_url")
        self.label_studio_token()
        return self
