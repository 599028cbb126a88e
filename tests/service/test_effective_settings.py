"""What a server runs with is said when it starts, and an option changes what it names alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_args

import pytest
import structlog

from service import config
from service.config import ExtractorSettings, ServerSettings, load_settings
from service.extraction.shared_resources import SharedResources
from service.metrics import Metrics
from tests.service.server import StartServer
from tests.service.tiny_backbone import TinyBackbone

DEFAULT_LIMITS = {"max_rows": 16, "max_cost": 1024, "window_seconds": 0.0, "concurrency": 8}
CHANGED_LIMITS = {
    "threads": {"concurrency"},
    "passes": {"concurrency"},
    "max_batch_rows": {"max_rows"},
    "max_batch_tokens": {"max_cost"},
    "batch_window_ms": {"window_seconds"},
}
"""What settings change about a batch of texts, as the table of settings says."""


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("TRUNKLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(config, "check_backbones", lambda *_: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


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
        "backbone": ("tiny/text",),
        "catalogue": Path("catalogue.toml"),
        "extractor": "127.0.0.1:50050",
    }.get(name, Path("elsewhere"))


@pytest.mark.parametrize("name", sorted(set(ServerSettings.model_fields) - {"workers"}))
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


async def test_start_says_every_setting_and_the_limits_of_batches(
    start_server: StartServer, tmp_path: Path
) -> None:
    with structlog.testing.capture_logs() as log:
        async with start_server(max_classes=7):
            pass
    (said,) = [entry for entry in log if entry["event"] == "settings"]
    expected = load_settings(
        ServerSettings, data_dir=tmp_path, backbone="tiny/text", max_classes=7
    ).model_dump(mode="json")
    assert {name: said[name] for name in expected} == expected
    (ready,) = [entry for entry in log if entry["event"] == "backbone ready"]
    assert {name: ready[name] for name in DEFAULT_LIMITS} == DEFAULT_LIMITS
    assert ready["device"] == "cpu"


def vars_of(limits: Any) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in DEFAULT_LIMITS}
