"""What a deployment on Ray Serve is refused for, before any replica starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.errors import InvalidSettings

pytestmark = [
    pytest.mark.long,  # imports Ray
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Ray's use of pydantic
]


def refusal(**values: Any) -> str:
    """The words in which these settings are refused."""
    pytest.importorskip("ray")
    from service.ray_serve.extraction import settings_of

    with pytest.raises(InvalidSettings) as caught:
        settings_of(values)
    return caught.value.message


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_text("k" * 20)
    return str(path)


def test_deployment_that_would_believe_anybody_says_so_or_is_refused(key: str) -> None:
    assert "extractor_key_file" in refusal()
    from service.ray_serve.extraction import settings_of

    assert settings_of({"insecure": True}).believes_anybody
    assert not settings_of({"extractor_key_file": key}).believes_anybody


@pytest.mark.parametrize(
    ("name", "value"), [("host", "127.0.0.1"), ("port", 1), ("socket", "s"), ("metrics_port", 1)]
)
def test_settings_of_ports_are_refused_by_their_names(name: str, value: object, key: str) -> None:
    words = refusal(extractor_key_file=key, **{name: value})
    assert words.startswith(f"{name}: must not be set")


def test_settings_of_ports_are_refused_also_in_the_environment(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_HOST", "127.0.0.1")
    assert refusal(extractor_key_file=key).startswith("host: must not be set")


def test_unknown_setting_is_refused_with_the_one_that_may_be_meant() -> None:
    assert "backbone may be meant" in refusal(insecure=True, backbones="minilm/l6-v2")
