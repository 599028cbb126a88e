"""Whole servers with a shared cache: what they predict, forget, show and log."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.config import WITH_PASSWORDS, ServerSettings, load_settings
from service.config.effective import config_main
from service.errors import InvalidSettings
from tests.authority import Authority
from tests.service.server import (
    LABELS,
    InProcessServer,
    StartServer,
    best,
    import_request,
    texts,
)
from tests.service.shared.valkey import Valkey
from trunkline.digest import text_digest
from trunkline.v1 import extraction_pb2

PATIENT = {"shared_cache_timeout_ms": 10_000}
PASSWORD = "s3cr3t"
URL = f"redis://trunkline:{PASSWORD}@cache.example:6380/2"


async def embeddings(server: InProcessServer, words: list[str]) -> bytes:
    request = extraction_pb2.EmbedRequest(tenant="tenants/acme", inputs=texts(*words))
    reply = await server.ask("Embed", request)
    return bytes(reply.embeddings.SerializeToString())


async def test_server_that_starts_again_computes_nothing_anew_but_what_was_forgotten(
    start_server: StartServer, valkey: Valkey
) -> None:
    words = [*LABELS, "red three"]
    async with start_server(shared_cache=valkey.url, **PATIENT) as server:
        await server.create()
        await server.add(LABELS)
        answers = await embeddings(server, words)
    async with start_server(shared_cache=valkey.url, **PATIENT) as server:
        warm = len(server.backbone.batches)
        assert await embeddings(server, words) == answers
        assert server.backbone.batches[warm:] == []
        with valkey.held():  # what is forgotten waits for nothing
            assert (await server.forget(text_digest("red one"))).forgotten == 1
    async with start_server(shared_cache=valkey.url, **PATIENT) as server:
        warm = len(server.backbone.batches)
        assert await embeddings(server, words) == answers
        assert server.backbone.batches[warm:] == [["red one"]]


async def test_server_without_its_shared_cache_starts_is_ready_and_answers(
    start_server: StartServer, tmp_path: Path
) -> None:
    with capture_logs() as logs:
        async with start_server(shared_cache=f"unix://{tmp_path}/nothing.sock") as server:
            await server.ask("ImportHead", import_request())
            assert best(await server.predict(*texts("red one"))) == ["yes"]
            assert server.application.readiness.ready
    assert sum("does not answer" in entry["event"] for entry in logs) == 1


def test_nobody_is_shown_the_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_SHARED_CACHE", URL)
    assert config_main([]) == 0
    assert config_main(["--json"]) == 0
    shown = capsys.readouterr().out
    assert PASSWORD not in shown
    assert shown.count("redis://***@cache.example:6380/2") == 2
    settings = load_settings(ServerSettings)
    assert PASSWORD not in str(settings.model_dump(mode="json"))
    assert PASSWORD not in str(settings.shared_cache_address)
    assert PASSWORD not in repr(settings.shared_cache_address)
    handed_on = settings.model_dump(mode="json", context=WITH_PASSWORDS)
    assert handed_on["shared_cache"] == URL


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"http://u:{PASSWORD}@host", "must be redis://"),
        (f"u:{PASSWORD}@host:1", "must be redis://"),
        (f"redis://u:{PASSWORD}@host:port", "must be redis://"),
        (f"redis://u:{PASSWORD}@host:99999", "must be redis://"),
        (f"redis://u:{PASSWORD}/@host", "must be redis://"),
        (f"redis://u:{PASSWORD}#@host", "must be redis://"),
        (f"redis://u:{PASSWORD}@host?ssl_cert_reqs=none", "must be redis://"),
        (f"redis://u:{PASSWORD}@host/many", "must be a number"),
        (f"redis://u:{PASSWORD}@/0", "names no host"),
        ("redis:// host", "without spaces"),
        ("unix://relative.sock", "unix:///PATH"),
        ("unix:relative.sock", "unix:///PATH"),
        (f"unix:///{'x' * 107}", "has a path of 108 bytes, and a socket's has at most 107"),
        ("", "must be redis://"),
    ],
)
def test_address_that_is_none_is_refused_without_its_password(url: str, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        load_settings(ServerSettings, shared_cache=url)
    assert "shared_cache" in str(refused.value)
    assert words in str(refused.value)
    assert PASSWORD not in str(refused.value)


def test_misspelt_setting_in_a_file_does_not_tell_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trunkline.toml"
    path.write_text(f'shared_cahce = "{URL}"\n')
    monkeypatch.setenv("TRUNKLINE_CONFIG", str(path))
    with pytest.raises(InvalidSettings, match="shared_cache may be meant") as refused:
        load_settings(ServerSettings)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "open_wires"),
    [
        (URL, ["redis://cache.example:6380/2"]),
        (URL.replace("redis:", "rediss:"), []),
        ("redis://cache.example", []),
        (f"redis://:{PASSWORD}@127.0.0.1", []),
        (f"redis://:{PASSWORD}@localhost:1/0", []),
        (f"unix://:{PASSWORD}@/run/valkey.sock", []),
    ],
)
def test_password_that_others_can_read_on_its_way_is_warned_of(
    url: str, open_wires: list[str]
) -> None:
    assert load_settings(ServerSettings, shared_cache=url).open_wires == open_wires


def test_files_of_tls_need_an_address_with_tls(tmp_path: Path) -> None:
    ca = Authority(tmp_path).ca
    for options, words in (
        ({}, "must be given with shared_cache"),
        ({"shared_cache": "redis://host"}, "must be rediss://"),
        ({"shared_cache": "unix:///a.sock"}, "must be rediss://"),
    ):
        with pytest.raises(InvalidSettings, match=f"shared_cache_tls_ca: .*{words}"):
            load_settings(ServerSettings, shared_cache_tls_ca=ca, **options)
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load_settings(
            ServerSettings, shared_cache="rediss://host", shared_cache_tls_ca=tmp_path / "none"
        )
    load_settings(ServerSettings, shared_cache="rediss://host", shared_cache_tls_ca=ca)
