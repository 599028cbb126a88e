"""What a server runs with is said when it starts, and an option changes what it names alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import structlog

from service.application import Application, ExtractorApplication
from service.config import (
    ExtractorSettings,
    ServerSettings,
    StandaloneExtractorSettings,
    extractor_settings,
    load_settings,
)
from service.extraction import local
from service.extraction.shared_resources import SharedResources
from service.metrics import Metrics
from service.offline import SWITCHES
from tests.service.server import StartServer
from tests.service.tiny_backbone import TinyBackbone, TinyImageBackbone

CORES = 8
MIB = 1024 * 1024
EXTRACTOR_DEFAULTS: dict[str, Any] = {
    "host": "127.0.0.1",
    "insecure": False,
    "extractor_key_file": None,
    "tls_cert": None,
    "tls_key": None,
    "tls_client_ca": None,
    "allowed_origins": [],
    "backbone": ["efficientnet/lite0", "minilm/l6-v2"],
    "catalogue": None,
    "engine": "auto",
    "device": "auto",
    "offline": False,
    "threads": 1,
    "passes": 0,
    "decode_threads": 0,
    "max_batch_rows": 0,
    "max_batch_cost": 3_211_264,
    "max_batch_tokens": 0,
    "batch_window_ms": 0.0,
    "max_queued_rows_per_tenant": 2048,
    "max_queued_rows": 16_384,
    "max_queued_bytes": 1024 * MIB,
    "tail_cache_bytes": 512 * MIB,
    "request_timeout_seconds": 60.0,
    "drain_seconds": 20.0,
    "max_message_bytes": 64 * MIB,
    "max_receiving_bytes": 1024 * MIB,
    "max_connections": 1000,
    "max_calls": 4096,
    "head_timeout_seconds": 10.0,
    "body_timeout_seconds": 60.0,
    "idle_timeout_seconds": 90.0,
    "max_connection_age_seconds": 0.0,
    "max_rows_per_request": 1024,
    "max_image_bytes": 16 * MIB,
    "max_pixels": 50_000_000,
    "max_side": 65_535,
    "max_text_bytes": 65_536,
    "metrics_tenants": 50,
    "log_level": "info",
    "log_format": "console",
}
DEFAULTS: dict[type[ExtractorSettings], dict[str, Any]] = {
    StandaloneExtractorSettings: EXTRACTOR_DEFAULTS
    | {"port": 50050, "socket": None, "metrics_port": 9090, "held_tail_bytes": 1024 * MIB},
    ServerSettings: EXTRACTOR_DEFAULTS
    | {
        "data_dir": "trunkline-data",
        "audit": "auto",
        "audit_retention_days": 90,
        "audit_file": None,
        "auth": "auto",
        "trusted_proxies": [],
        "extractor_tls_ca": None,
        "extractor_tls_cert": None,
        "extractor_tls_key": None,
        "store": None,
        "store_password_file": None,
        "store_connections": 10,
        "new_store": False,
        "disk_reserve_bytes": 64 * MIB,
        "grpc_port": 50051,
        "rest_port": 3000,
        "extractor": None,
        "workers": 1,
        "tenant_cost_per_second": 0.0,
        "tenant_cost_burst": 0.0,
        "tenant_rows_in_flight": 0,
        "tenant_examples": 0,
        "tenant_stored_bytes": 0,
        "usage_days": 400,
        "label_studio_url": None,
        "label_studio_token_file": None,
        "shared_cache": None,
        "shared_cache_ttl_seconds": 604_800.0,
        "shared_cache_timeout_ms": 100.0,
        "shared_cache_queued_bytes": 16 * MIB,
        "shared_cache_tls_ca": None,
        "shared_cache_tls_cert": None,
        "shared_cache_tls_key": None,
        "embedding_cache_bytes": 512 * MIB,
        "head_cache_bytes": 256 * MIB,
        "neighbour_cache_bytes": 256 * MIB,
        "capture_queued_bytes": 64 * MIB,
        "live_cache_bytes": 256 * MIB,
        "live_threads": 2,
        "live_error_rate": 0.05,
        "drift_delta": 0.002,
        "fit_threads": 1,
        "fit_timeout_seconds": 3600.0,
        "tune_threads": 1,
        "tune_timeout_seconds": 86_400.0,
        "child_silence_seconds": 60.0,
        "activation_cache_bytes": 8192 * MIB,
        "max_classes": 1000,
        "max_examples_per_head": 100_000,
        "max_versions_per_head": None,
        "max_label_bytes": 256,
        "max_advice_examples": 5000,
        "max_advice_bytes": 256 * MIB,
    },
}
"""As JSON, but for `cache_dir`, which depends on who runs it. A change of one is a change of what
every server does that does not set it, and belongs into the changelog."""

DEFAULT_LIMITS = {"max_rows": 16, "max_cost": 1024, "window_seconds": 0.0, "concurrency": CORES}
CHANGED_LIMITS = {
    "threads": {"concurrency"},
    "passes": {"concurrency"},
    "max_batch_rows": {"max_rows"},
    "max_batch_tokens": {"max_cost"},
    "batch_window_ms": {"window_seconds"},
}
"""What settings change about a batch of texts, as the table of settings says."""


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("TRUNKLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(extractor_settings, "check_backbones", lambda *_: None)
    monkeypatch.setattr(os, "cpu_count", lambda: CORES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("cls", DEFAULTS)
def test_defaults_are_as_they_were(cls: type[ExtractorSettings], tmp_path: Path) -> None:
    found = load_settings(cls).model_dump(mode="json")
    assert found == DEFAULTS[cls] | {"cache_dir": str(tmp_path / "trunkline")}


@pytest.mark.parametrize(
    ("device", "backbone", "rows", "cost"),
    [
        ("cpu", TinyBackbone, 16, 1024),
        ("cpu", TinyImageBackbone, 4, 3_211_264),
        ("cuda", TinyBackbone, 64, 16_384),
        ("cuda", TinyImageBackbone, 64, 3_211_264),
    ],
)
@pytest.mark.parametrize(("cores", "threads"), [(None, 1), (1, 1), (2, 1), (3, 1), (64, 32)])
async def test_defaults_of_zero_come_to_what_the_table_says(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    backbone: type[TinyBackbone],
    rows: int,
    cost: int,
    cores: int | None,
    threads: int,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(backbone, "device", device)
    resources = SharedResources(load_settings(ServerSettings), Metrics(1))
    found = vars_of(resources.batch_limits(backbone()))
    await resources.close()
    passes = (cores or 1) if device == "cpu" else 1
    assert list(found.values()) == [rows, cost, 0.0, passes]
    assert resources.decode_threads.count == threads


def another(name: str, cls: type[ExtractorSettings], defaults: ExtractorSettings) -> Any:
    """Some value of a setting that is not its default."""
    value, kind = getattr(defaults, name), cls.model_fields[name].annotation
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        # Not 1 for the tokens: a batch must hold the longest text.
        return 1024 * 2 if name == "max_batch_tokens" else value + 1
    if isinstance(value, float):
        return value + 0.01
    if options := [option for option in get_args(kind) if isinstance(option, str)]:
        return next(option for option in options if option != value)
    return {
        "host": "::1",
        "allowed_origins": ("https://models.example.org",),
        "trusted_proxies": ("10.0.0.1",),
        "backbone": ("tiny/text",),
        "catalogue": Path("catalogue.toml"),
        "extractor": "127.0.0.1:50050",
        "shared_cache": "redis://cache.example",
        "max_versions_per_head": 3,
        "store": "postgresql+psycopg://trunkline@db.example.org/trunkline",
    }.get(name, Path("elsewhere"))


NOT_ALONE = {
    *("workers", "extractor_key_file", "tls_cert", "tls_key", "tls_client_ca"),
    *("extractor_tls_ca", "extractor_tls_cert", "extractor_tls_key", "store_password_file"),
    *("shared_cache_tls_ca", "shared_cache_tls_cert", "shared_cache_tls_key"),
}
"""Has one value; or name files, which are read, or need one another."""


@pytest.mark.parametrize("name", sorted(set(ServerSettings.model_fields) - NOT_ALONE))
async def test_option_changes_itself_alone_and_of_batches_what_it_says(name: str) -> None:
    defaults = load_settings(ServerSettings)
    value = another(name, ServerSettings, defaults)
    changed = load_settings(ServerSettings, **{name: value})
    before, after = defaults.model_dump(mode="json"), changed.model_dump(mode="json")
    assert {key for key in before if before[key] != after[key]} == {name}
    resources = [SharedResources(settings, Metrics(1)) for settings in (defaults, changed)]
    backbone = TinyBackbone()
    was, now = (vars_of(one.batch_limits(backbone)) for one in resources)
    for one in resources:
        await one.close()
    assert was == DEFAULT_LIMITS
    assert {key for key in was if was[key] != now[key]} == CHANGED_LIMITS.get(name, set())


@pytest.mark.parametrize("offline", [True, False])
async def test_libraries_are_told_when_nothing_may_be_downloaded(
    offline: bool, start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SWITCHES:
        monkeypatch.setenv(name, "as it was")
    async with start_server(offline=offline):
        pass
    assert {os.environ[name] for name in SWITCHES} == {"1" if offline else "as it was"}


async def test_start_says_every_setting_and_what_those_of_zero_came_to(
    start_server: StartServer, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"max_classes": 7, "disk_reserve_bytes": MIB}
    with structlog.testing.capture_logs() as log:
        async with start_server(**given):
            pass
    given |= {"data_dir": str(tmp_path), "backbone": ["tiny/text"]}
    assert_said(log, ServerSettings, tmp_path, given)


@pytest.mark.parametrize("threads", [0, 3])
async def test_extractor_says_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, threads: int
) -> None:
    monkeypatch.setattr(local, "load_backbone", lambda name, **_: TinyBackbone())
    given = {"decode_threads": threads, "backbone": ["tiny/text"]}
    with structlog.testing.capture_logs() as log:
        application = ExtractorApplication(load_settings(StandaloneExtractorSettings, **given))
        await application.start()
        await application.close()
    assert_said(log, StandaloneExtractorSettings, tmp_path, given, threads or CORES // 2)


async def test_server_with_a_remote_extractor_says_in_how_many_threads_it_decodes_itself(
    tmp_path: Path,
) -> None:
    with structlog.testing.capture_logs() as log:
        await Application(
            load_settings(ServerSettings, data_dir=tmp_path, extractor="127.0.0.1:1")
        ).close()
    (threads,) = [entry for entry in log if entry["event"] == "decode threads"]
    assert threads["count"] == CORES // 2


def assert_said(
    log: Sequence[Mapping[str, Any]],
    cls: type[ExtractorSettings],
    home: Path,
    given: dict[str, Any],
    threads: int = CORES // 2,
) -> None:
    """The log of a start has the settings as they count, and what those of 0 came to."""
    said, decoding, ready = (
        entry
        for event in ("settings", "decode threads", "loading backbone", "backbone ready")
        for entry in log
        if entry["event"] == event
    )
    expected = DEFAULTS[cls] | {"cache_dir": str(home / "trunkline")} | given
    assert {name: said[name] for name in expected} == expected
    assert (decoding["count"], decoding["slow"]) == (threads, 1)
    assert {name: ready[name] for name in DEFAULT_LIMITS} == DEFAULT_LIMITS
    assert ready["device"] == "cpu"


def vars_of(limits: Any) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in DEFAULT_LIMITS}
