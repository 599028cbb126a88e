"""Certificates are read again when their files change, however that is done."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from structlog.testing import capture_logs

from service.tls import Certificates, TlsFiles
from service.tls import certificates as certificates_module
from tests.authority import NAMES, Authority, Pair, Told, put

HANGS_SECONDS = 60


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@asynccontextmanager
async def following(files: TlsFiles) -> AsyncIterator[tuple[Certificates, Told]]:
    certificates, told = Certificates(files), Told()
    certificates.follow(told)
    try:
        async with asyncio.timeout(HANGS_SECONDS):
            yield certificates, told
    finally:
        await certificates.close()


async def test_new_pair_takes_the_place_of_the_old_one(authority: Authority) -> None:
    pair = authority.issue()
    async with following(pair.files()) as (certificates, told):
        before, changes = certificates.current, []
        certificates.on_change(lambda: changes.append(certificates.current))
        authority.issue()
        await told.until_read(2)
    assert certificates.current.chain == pair.cert.read_bytes() != before.chain
    assert changes == [certificates.current]


async def test_change_between_the_first_reading_and_the_watch_is_seen(
    authority: Authority,
) -> None:
    pair = authority.issue()
    certificates, told = Certificates(pair.files()), Told()
    authority.issue()
    certificates.follow(told)
    async with asyncio.timeout(HANGS_SECONDS):
        await told.until_read(2)
    await certificates.close()
    assert certificates.current.chain == pair.cert.read_bytes()


async def test_pair_behind_links_that_are_swapped_is_seen(
    authority: Authority, tmp_path: Path
) -> None:
    """As Kubernetes changes a secret: one link is replaced, and no file is written."""
    mount = tmp_path / "mount"
    mount.mkdir()
    for version in ("..1", "..2"):
        pair = authority.issue()
        (mount / version).mkdir()
        shutil.copy(pair.cert, mount / version / "tls.crt")
        shutil.copy(pair.key, mount / version / "tls.key")
    (mount / "..data").symlink_to("..1")
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    files = Pair(mount / "tls.crt", mount / "tls.key").files()
    async with following(files) as (certificates, told):
        (mount / "..new").symlink_to("..2")
        os.replace(mount / "..new", mount / "..data")
        await told.until_read(2)
    assert certificates.current.chain == (mount / "..2" / "tls.crt").read_bytes()
    assert told.refused == []


async def test_what_cannot_be_used_changes_nothing_and_is_counted_once(
    authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair, foreign = authority.issue(), Authority(tmp_path / "other").issue()
    async with following(pair.files()) as (certificates, told):
        before = certificates.current
        os.replace(foreign.key, pair.key)
        await told.until_refused(1)
        put(pair.cert, b"broken")
        await told.until_refused(2)
        (pair.cert.parent / "unrelated").touch()
        pair.cert.unlink()
        await told.until_refused(3)
        assert certificates.current is before
        assert told.refused == ["tls_cert"] * 3
        authority.issue()
        await told.until_read(2)
        assert certificates.current is not before


async def test_folder_that_is_removed_and_made_again_is_followed(authority: Authority) -> None:
    pair = authority.issue()
    async with following(pair.files()) as (certificates, told):
        shutil.rmtree(authority.folder)
        await told.until_refused(1)
        authority.folder.mkdir()
        authority.issue()
        await told.until_read(2)
    assert certificates.current.chain == pair.cert.read_bytes()


async def test_nothing_is_followed_where_the_system_says_whom_to_trust() -> None:
    with capture_logs() as logs:
        async with following(TlsFiles(None, None, None, NAMES)) as (certificates, told):
            assert certificates.channel_credentials() is not None
    assert (told.read, told.refused, logs) == ([], [], [])


async def test_folder_that_cannot_be_watched_is_said(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a user has no watches left."""

    def awatch(*_: object, **__: object) -> NoReturn:
        raise OSError("too many open files")

    monkeypatch.setattr(certificates_module, "awatch", awatch)
    with capture_logs() as logs:
        certificates = Certificates(authority.issue().files())
        certificates.follow(Told())
        for _ in range(1_000_000):
            if logs:
                break
            await asyncio.sleep(0)
        await certificates.close()
    assert [event["reason"] for event in logs] == ["too many open files"]
