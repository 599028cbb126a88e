"""`trunkline login` and `logout`."""

import stat
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.trunkline.recorded_state import refuse
from tests.trunkline.recording import Recorder, Server
from tests.trunkline.steps import Run
from trunkline.cli import stored_keys

KEY = "tlk_of_acme"


@pytest.fixture
def shown(recorder: Recorder) -> list[str | None]:
    """The keys that questions who is asking have shown, of which one alone is good."""
    keys: list[str | None] = []

    def note(request: Any, context: grpc.ServicerContext) -> None:
        metadata = dict(context.invocation_metadata())
        keys.append(str(metadata["authorization"]) if "authorization" in metadata else None)
        if keys[-1] not in (None, f"Bearer {KEY}"):
            refuse(context, "UNAUTHENTICATED", "show a good key", field="authorization")

    recorder.hooks["WhoAmI"] = [note] * 10
    return keys


@pytest.fixture
def keys_file(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "settings" / "trunkline" / "keys.json"
    monkeypatch.setattr(stored_keys, "_path", lambda: path)
    return path


def test_stored_key_is_shown_to_its_server_until_logout(
    run: Run, shown: list[str | None], keys_file: Path, server: Server
) -> None:
    logged_in = run("login", answers=f"{KEY}\n")
    assert logged_in.exit_code == 0, logged_in.stderr
    assert KEY not in logged_in.output
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys_file.parent.stat().st_mode) == 0o700
    run("whoami")
    port = server.address.rpartition(":")[2]
    run("whoami", "--server", f"localhost:{port}")
    run("--token", "another", "whoami")
    assert run("logout").exit_code == 0
    run("whoami")
    assert shown == [f"Bearer {KEY}", f"Bearer {KEY}", None, "Bearer another", None]
    assert run("logout").exit_code == 1


def test_key_that_is_refused_is_not_stored(
    run: Run, shown: list[str | None], keys_file: Path
) -> None:
    refused = run("login", answers="wrong\n")
    assert refused.exit_code == 1
    assert "show a good key" in refused.stderr
    assert "wrong" not in refused.output
    for answers in ("", "\n"):
        assert "no key was given" in run("login", answers=answers).stderr
    assert run("login", answers="schlüssel\n").exit_code == 1
    assert not keys_file.exists()


def test_key_is_no_argument(run: Run) -> None:
    for arguments in ((KEY,), ("--token", KEY)):
        assert run("login", *arguments).exit_code == 2


def test_keys_that_others_can_read_or_that_are_damaged_are_not_used(
    run: Run, shown: list[str | None], keys_file: Path
) -> None:
    run("login", answers=f"{KEY}\n")
    keys_file.chmod(0o640)
    assert "can be read by others" in run("whoami").stderr
    keys_file.chmod(0o600)
    for damaged in ("{", "[]", '{"a": 1}'):
        keys_file.write_text(damaged)
        assert "log in again" in run("whoami").stderr
    assert len(shown) == 1


def test_socket_is_known_by_its_whole_path(
    keys_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stored_keys.store_key("unix:server.sock", KEY)
    assert stored_keys.stored_key(f"unix:{tmp_path}/server.sock") == KEY
    assert stored_keys.stored_key(f"unix://{tmp_path}/server.sock") == KEY
    monkeypatch.chdir("/")
    assert stored_keys.stored_key("unix:server.sock") is None
    stored_keys.store_key("Models.example.org:50051", KEY)
    assert stored_keys.stored_key("models.example.org:50051") == KEY
    assert stored_keys.stored_key("models.example.org:50052") is None
