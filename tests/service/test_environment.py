"""Variables of the environment that look like settings and are none are told, or left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from service.application import ExtractorApplication
from service.config import ServerSettings, StandaloneExtractorSettings, load_settings
from service.errors import InvalidSettings

LINKS = {
    "TRUNKLINE_SERVICE_HOST": "10.0.0.11",
    "TRUNKLINE_SERVICE_PORT": "50051",
    "TRUNKLINE_SERVICE_PORT_GRPC": "50051",
    "TRUNKLINE_PORT": "tcp://10.0.0.11:50051",
    "TRUNKLINE_PORT_50051_TCP": "tcp://10.0.0.11:50051",
    "TRUNKLINE_PORT_50051_TCP_PROTO": "tcp",
    "TRUNKLINE_PORT_50051_TCP_PORT": "50051",
    "TRUNKLINE_PORT_50051_TCP_ADDR": "10.0.0.11",
}
"""What Kubernetes sets in each container beside a Service that is called trunkline."""


async def warnings(
    monkeypatch: pytest.MonkeyPatch, **variables: str
) -> list[tuple[str, str | None]]:
    """Makes an extractor in this environment; returns variables and settings that it names."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with structlog.testing.capture_logs() as logged:
        ExtractorApplication(load_settings(StandaloneExtractorSettings))
    told = [row for row in logged if row["event"] == "variable of no setting"]
    return [(row["variable"], row["nearest"]) for row in told]


async def test_what_kubernetes_sets_is_neither_taken_nor_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await warnings(monkeypatch, **LINKS) == []
    assert load_settings(StandaloneExtractorSettings).port == 50050


def test_port_that_is_a_number_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_PORT", "7")
    assert load_settings(StandaloneExtractorSettings).port == 7
    monkeypatch.setenv("TRUNKLINE_PORT", "seven")
    with pytest.raises(InvalidSettings, match="port: "):
        load_settings(StandaloneExtractorSettings)


async def test_misspelt_variable_is_told_with_the_nearest_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = await warnings(
        monkeypatch,
        TRUNKLINE_BACKBONES="minilm/l6-v2",
        TRUNKLINE_ZZZ="1",
        TRUNKLINE_GRPC_PORT="1",
        TRUNKLINE_SERVER="127.0.0.1:1",
        TRUNKLINE_TOKEN="x",
    )
    assert told == [("TRUNKLINE_BACKBONES", "TRUNKLINE_BACKBONE"), ("TRUNKLINE_ZZZ", None)]


def test_misspelt_key_of_the_file_is_refused_with_the_nearest_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "trunkline.toml"
    file.write_text('rest_prot = 1\nzzz = "x"\n', encoding="utf-8")
    monkeypatch.setenv("TRUNKLINE_CONFIG", str(file))
    with pytest.raises(InvalidSettings) as caught:
        load_settings(ServerSettings)
    said = str(caught.value)
    assert f"rest_prot: there is no such setting (in {file}), rest_port may be meant, is 1" in said
    assert f"zzz: there is no such setting (in {file}), is 'x'" in said
