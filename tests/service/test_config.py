"""Settings: what is refused, and who wins."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service.addresses import is_loopback
from service.config import (
    ExtractorSettings,
    ServerSettings,
    StandaloneExtractorSettings,
    load_settings,
    parse_settings,
)
from service.config.groups import grouped
from service.errors import InvalidSettings

CLASSES = (ExtractorSettings, StandaloneExtractorSettings, ServerSettings)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting from outside; one that a test makes (``--config`` does) is gone afterwards."""
    monkeypatch.setenv("TRUNKLINE_CONFIG", "")
    for name in [name for name in os.environ if name.startswith("TRUNKLINE_")]:
        monkeypatch.delenv(name)


def server(*args: str) -> ServerSettings:
    return parse_settings(ServerSettings, "trunkline serve", list(args))


def write_toml(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_defaults_are_valid() -> None:
    for cls in CLASSES:
        load_settings(cls)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_setting_says_what_it_does(cls: type[ExtractorSettings]) -> None:
    for name, field in cls.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_settings_cannot_be_changed() -> None:
    settings = load_settings(ServerSettings)
    with pytest.raises(ValidationError, match="frozen"):
        settings.workers = 3


DANGEROUS: list[tuple[str, dict[str, Any]]] = [
    ("host", {"host": ""}),
    ("auth", {"auth": "none"}),
    ("auth", {"auth": "required", "insecure": True}),
    ("extractor_key_file", {"extractor_key_file": "no-such.key"}),
    ("max_queued_rows_per_tenant", {"max_queued_rows_per_tenant": 10}),
    ("max_queued_rows", {"max_queued_rows": 100}),
    ("max_queued_bytes", {"max_queued_bytes": 64 * 1024 * 1024 - 1}),
    ("max_receiving_bytes", {"max_receiving_bytes": 128 * 1024 * 1024}),
    ("max_image_bytes", {"max_image_bytes": 64 * 1024 * 1024}),
    ("max_image_bytes", {"max_message_bytes": 1024 * 1024}),
    ("store", {"store": "trunkline.db"}),
    ("store", {"store": "sqlite:///trunkline.db"}),
    ("store", {"store": "postgresql+psycopg://db.example.org"}),
    ("store", {"store": "postgresql+psycopg://db.example.org:port/trunkline"}),
    ("store_connections", {"store_connections": 1}),
    ("store_password_file", {"store_password_file": "password"}),
    ("workers", {"workers": 257}),
    ("workers", {"workers": 2, "store": "postgresql+psycopg://db.example.org/trunkline"}),
    ("tenant_cost_per_second", {"tenant_cost_per_second": 1e-9}),
    ("tenant_cost_burst", {"tenant_cost_burst": float("inf")}),
    ("workers", {"workers": 0}),
    ("backbone", {"backbone": "minilm/l6-v2,minilm/l6-v2"}),
    ("backbone", {"backbone": ""}),
    ("backbone", {"backbone": []}),
    ("backbone", {"backbone": "resnet/50"}),
    ("catalogue", {"catalogue": "no-such-file.toml"}),
    ("grpc_port", {"grpc_port": 70_000}),
    ("rest_port", {"rest_port": -1}),
    ("max_batch_rows", {"max_batch_rows": -1}),
    ("max_connections", {"max_connections": 0}),
    ("max_calls", {"max_calls": 0}),
    ("head_timeout_seconds", {"head_timeout_seconds": 0}),
    ("body_timeout_seconds", {"body_timeout_seconds": 0}),
    ("idle_timeout_seconds", {"idle_timeout_seconds": 0}),
    ("max_connection_age_seconds", {"max_connection_age_seconds": -1}),
    ("batch_window_ms", {"batch_window_ms": float("nan")}),
    ("request_timeout_seconds", {"request_timeout_seconds": float("inf")}),
    ("engine", {"engine": "tensorflow"}),
    ("device", {"device": "tpu"}),
    ("log_level", {"log_level": "loud"}),
    ("max_classes", {"max_classes": 1}),
    ("allowed_origins", {"allowed_origins": "*"}),
    ("allowed_origins", {"allowed_origins": "null"}),
    ("allowed_origins", {"allowed_origins": "models.example.org"}),
    ("allowed_origins", {"allowed_origins": "https://models.example.org/"}),
    ("allowed_origins", {"allowed_origins": "https://good.example,ftp://files.example"}),
    ("no_such_setting", {"no_such_setting": 1}),
]


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://u:geheim@h/db",
        "postgres://u:geheim@h/db?sslmode=require",
        "postgresql://u@h/db?password=geheim",
    ],
)
def test_password_of_the_store_is_not_shown(address: str) -> None:
    settings = load_settings(ServerSettings, store=address)
    assert settings.store == address
    assert "geheim" not in str(settings.model_dump(mode="json"))
    assert "@h/db" in str(settings.model_dump(mode="json")["store"])
    for wrong in (address.replace("/db", ""), address.replace("postgres", "oracle")):
        with pytest.raises(InvalidSettings) as caught:
            load_settings(ServerSettings, store=wrong)
        assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(("field", "values"), DANGEROUS)
def test_dangerous_setting_is_refused_by_name(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=field):
        load_settings(ServerSettings, **values)


def test_every_field_at_fault_is_named() -> None:
    with pytest.raises(InvalidSettings) as caught:
        load_settings(ServerSettings, grpc_port=-1, log_format="xml")
    assert "grpc_port" in str(caught.value)
    assert "log_format" in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_insecure(host: str) -> None:
    assert is_loopback(host)
    assert load_settings(ServerSettings, host=host).host == host


def test_insecure_allows_any_host() -> None:
    assert load_settings(ServerSettings, host="0.0.0.0", insecure=True).host == "0.0.0.0"


def test_limits_of_inputs_are_those_of_the_settings() -> None:
    limits = load_settings(
        ServerSettings, max_image_bytes=2048, max_pixels=7, max_side=5, max_text_bytes=99
    ).input_limits
    assert (limits.max_image_bytes, limits.max_pixels, limits.max_text_bytes) == (2048, 7, 99)
    assert limits.max_side == 5


def test_flags_are_read_in_kebab_case() -> None:
    settings = server(
        *("--host", "0.0.0.0", "--insecure", "--grpc-port", "0"),
        *("--data-dir", "/some/where", "--batch-window-ms", "1.5"),
    )
    assert settings.insecure
    assert settings.grpc_port == 0
    assert settings.data_dir == Path("/some/where")
    assert settings.batch_window_ms == 1.5


@pytest.mark.parametrize(
    "args",
    [("--backbone", "timm/a", "--backbone", "timm/b"), ("--backbone", "timm/a,timm/b")],
    ids=["repeated", "commas"],
)
def test_several_backbones_can_be_named(args: tuple[str, ...]) -> None:
    assert server(*args).backbone == ("timm/a", "timm/b")


def test_origins_are_named_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    origins = ("https://a.example", "http://b.example:8080")
    assert server("--allowed-origins", ",".join(origins)).allowed_origins == origins
    monkeypatch.setenv("TRUNKLINE_ALLOWED_ORIGINS", ", ".join(origins))
    assert load_settings(ServerSettings).allowed_origins == origins
    monkeypatch.setenv("TRUNKLINE_ALLOWED_ORIGINS", "")  # as `trunkline serve` hands none on
    assert load_settings(ServerSettings).allowed_origins == ()


def test_environment_names_backbones_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_BACKBONE", "timm/a, timm/b")
    assert load_settings(ServerSettings).backbone == ("timm/a", "timm/b")


@pytest.mark.parametrize(
    "args",
    [("--no-such-flag", "1"), ("--grpc-port", "many"), ("stray",), ("--workers", "0")],
)
def test_bad_flag_is_refused_without_a_traceback(args: tuple[str, ...]) -> None:
    with pytest.raises(InvalidSettings):
        server(*args)


def test_flag_wins_over_environment_and_environment_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_toml(tmp_path / "t.toml", "grpc_port = 1\nrest_port = 1\nworkers = 1\nthreads = 1")
    monkeypatch.setenv("TRUNKLINE_GRPC_PORT", "2")
    monkeypatch.setenv("TRUNKLINE_REST_PORT", "2")
    settings = server("--config", path, "--grpc-port", "3")
    assert (settings.grpc_port, settings.rest_port, settings.threads) == (3, 2, 1)


def test_file_can_be_named_in_one_word(tmp_path: Path) -> None:
    path = write_toml(tmp_path / "t.toml", "threads = 3")
    assert server(f"--config={path}").threads == 3


def test_file_can_be_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_CONFIG", write_toml(tmp_path / "t.toml", "threads = 3"))
    assert load_settings(ServerSettings).threads == 3


def test_file_that_a_flag_names_takes_the_place_of_the_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_CONFIG", write_toml(tmp_path / "a.toml", "threads = 3"))
    assert server("--config", write_toml(tmp_path / "b.toml", "threads = 4")).threads == 4


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("max_batch_row = 3", "max_batch_row"),
        ("grpc_port = 'x'", "grpc_port"),
        ("not toml at all", r"config: .*t\.toml is not TOML"),
    ],
)
def test_mistake_in_the_file_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(InvalidSettings, match=complaint):
        server("--config", write_toml(tmp_path / "t.toml", text))


@pytest.mark.parametrize("cls", [ServerSettings, StandaloneExtractorSettings])
def test_misspelt_key_or_flag_is_refused_with_the_nearest(
    cls: type[ExtractorSettings], tmp_path: Path
) -> None:
    path = write_toml(tmp_path / "t.toml", "max_batch_row = 3")
    with pytest.raises(InvalidSettings, match=r"max_batch_row: .*t\.toml\), max_batch_rows may be"):
        parse_settings(cls, "trunkline", ["--config", path])
    with pytest.raises(InvalidSettings, match=r"--max-batch-row'.*--max-batch-rows"):
        parse_settings(cls, "trunkline", ["--max-batch-row", "3"])


@pytest.mark.parametrize("cls", CLASSES)
def test_every_setting_has_a_group_in_the_help(cls: type[ExtractorSettings]) -> None:
    shown = [
        name for title, names in grouped(cls.model_fields) if title != "Other" for name in names
    ]
    assert sorted(shown) == sorted(cls.model_fields)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"missing\.toml"):
        server("--config", str(tmp_path / "missing.toml"))


def test_config_without_a_path_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="config"):
        server("--config")


def test_address_of_an_extractor_that_is_none_is_refused() -> None:
    for address, fault in {
        "gpu": "has no port",
        "http://gpu:1": "is a web address of REST",
        f"unix:/{'x' * 107}": "has a path of 108 bytes, and a socket's has at most 107",
    }.items():
        with pytest.raises(InvalidSettings, match=f"^extractor: .*{fault}"):
            server("--extractor", address)
    assert server("--extractor", f"unix:/{'x' * 106}").extractor


def test_socket_whose_path_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"^socket: has a path of 108 bytes.* at most 107"):
        parse_settings(StandaloneExtractorSettings, "trunkline", ["--socket", f"/{'x' * 107}"])


def test_extractor_has_its_own_settings() -> None:
    settings = parse_settings(
        StandaloneExtractorSettings,
        "trunkline extractor",
        ["--port", "7", "--socket", "/run/x.sock", "--metrics-port", "9"],
    )
    assert (settings.port, settings.metrics_port) == (7, 9)
    assert settings.socket == Path("/run/x.sock")
