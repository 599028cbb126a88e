"""Where settings come from: arguments, the environment, and a TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from service.config.environment import PREFIX, is_service_link, nearest
from service.config.urls import without_password
from service.errors import InvalidSettings

MIB = 1024 * 1024


class Settings(BaseSettings):
    """What all settings have in common: where they come from, and that they are frozen."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        assert isinstance(env_settings, EnvSettingsSource)
        env_settings.env_vars = {
            name: value
            for name, value in env_settings.env_vars.items()
            if not is_service_link(name, value or "")
        }
        sources = [init_settings, env_settings]
        if path := os.environ.get("TRUNKLINE_CONFIG"):
            if not Path(path).is_file():  # which the source below would take for an empty one
                raise FileNotFoundError(f"config: there is no file {path}")
            sources.append(TomlConfigSettingsSource(settings_cls, Path(path)))
        return tuple(sources)


S = TypeVar("S", bound=Settings)


def load_settings(cls: type[S], **values: Any) -> S:
    """Reads settings from the environment and the file, and `values` before both.

    Raises:
        InvalidSettings: naming every field at fault.
    """
    try:
        return cls(**values)
    except ValidationError as error:
        file = os.environ.get(f"{PREFIX}CONFIG", "")
        raise InvalidSettings(describe_validation(error, cls.model_fields, file)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        file = os.environ.get(f"{PREFIX}CONFIG", "")
        raise InvalidSettings(f"config: {file} is not TOML: {error}") from error
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"settings: {error}") from error


def describe_validation(
    error: ValidationError, settings: Iterable[str] = (), file: str = ""
) -> str:
    """Describes in one line each field, what is wrong with it and the value.

    Args:
        settings: names of all, of which one may be meant by another that is none.
        file: where such a name stands: flags are known by then, and variables only told.
    """
    parts = []
    for item in error.errors():
        field = ".".join(map(str, item["loc"]))
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            near = nearest(field, settings)
            message = f"there is no such setting{f' (in {file})' if file else ''}"
            message += f", {near} may be meant" if near else ""
        value = item["input"]
        shown = without_password(value) if isinstance(value, str) else value
        parts.append(f"{field}: {message}, is {shown!r}" if field else message)
    return "; ".join(parts)


def read_secret(path: Path | None, setting: str, fewest: int = 1) -> str:
    """Reads a key or token from a file; "" without one.

    Args:
        setting: that names the file.
        fewest: characters that it has at least.

    Raises:
        ValueError: the file cannot be read, or its text is none.
    """
    if path is None:
        return ""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{setting}: cannot be read: {error}") from error
    if len(text) < fewest or not text.isprintable() or " " in text:
        raise ValueError(
            f"{setting}: must hold at least {fewest} printable characters without a space, holds "
            f"{len(text)} characters"
        )
    return text


def default_cache_dir() -> Path:
    """Returns ``$XDG_CACHE_HOME/trunkline`` or ``~/.cache/trunkline``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trunkline"
