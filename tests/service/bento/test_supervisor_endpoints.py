"""BentoML's supervisor is out of reach of other users, however it is made."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from service.errors import StartupError

# BentoML calls a deprecated function of pathspec when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")


@pytest.fixture
def circus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """BentoML's module that makes supervisors, as the service changes it."""
    from bentoml._internal.utils import circus

    from service.bento import supervisor_endpoints

    for name in ("Arbiter", "ThreadedArbiter"):
        monkeypatch.setattr(circus, name, getattr(circus, name))  # so that it is put back
    supervisor_endpoints.keep_private()
    return circus


@pytest.mark.parametrize("threaded", [False, True])
def test_supervisor_listens_in_a_folder_of_its_users_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, circus: Any, threaded: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    arbiter = circus.create_standalone_arbiter([], threaded=threaded)
    try:
        assert isinstance(arbiter, circus.ThreadedArbiter) is threaded
        (folder,) = tmp_path.iterdir()
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        for endpoint in (arbiter.endpoint, arbiter.pubsub_endpoint, arbiter.ctrl.endpoint):
            assert endpoint.startswith(f"ipc://{folder}/"), "a port is for every user"
        assert arbiter.ctrl.multicast_endpoint is None
        assert arbiter.stats_endpoint is None
    finally:
        arbiter.exit_stack.close()
        arbiter.ctrl.stop()
    assert not folder.exists()


def test_folder_too_deep_for_a_socket_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, circus: Any
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(StartupError, match="TMPDIR") as caught:
        circus.create_standalone_arbiter([])
    assert caught.value.limit == 107
    assert not list(deep.iterdir())
