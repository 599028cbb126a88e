"""The link to an extraction server over mutual TLS, whose certificate changes while it is used."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.tls import Certificates, TlsFiles
from tests.authority import Authority, Pair, Told
from tests.service.extraction.far_extractor import Far, connected
from tests.service.tiny_backbone import info, text_input

HANGS_SECONDS = 60
NAMES = ("extractor_tls_cert", "extractor_tls_key", "extractor_tls_ca")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def link_files(authority: Authority, shown: Pair | None = None) -> TlsFiles:
    cert, key = shown or (None, None)
    return TlsFiles(cert, key, authority.ca, NAMES)


def port_credentials(authority: Authority) -> Certificates:
    return Certificates(authority.issue("extractor").files(client_ca=authority.ca))


async def test_new_certificate_is_shown_from_then_on_and_no_call_under_way_breaks(
    authority: Authority,
) -> None:
    far, told = Far(), Told()
    credentials = port_credentials(authority).server_credentials()
    pair = authority.issue("server")
    certificates = Certificates(link_files(authority, pair))
    certificates.follow(told)
    before = pair.cert.read_bytes()
    async with (
        asyncio.timeout(HANGS_SECONDS),
        far.serving(credentials) as port,
        connected(port, certificates) as link,
    ):
        far.embeds.clear()
        first = asyncio.create_task(link.extractor.embed("acme", info(), [text_input("a")]))
        await far.changes.until(lambda: len(far.asked) == 1)
        authority.issue("server")
        await told.until_read(2)
        second = asyncio.create_task(link.extractor.embed("acme", info(), [text_input("b")]))
        await far.changes.until(lambda: len(far.asked) == 2)
        far.embeds.set()
        for answer in (first, second):
            assert len(await answer) == 1
        assert far.shown == [before, pair.cert.read_bytes()]
        assert link.readiness == [True], "the extractor was never away"
    await certificates.close()


async def test_extractor_of_another_authority_is_not_believed(
    authority: Authority, tmp_path: Path
) -> None:
    theirs = Authority(tmp_path / "strangers")
    credentials = Certificates(theirs.issue("extractor").files()).server_credentials()
    async with asyncio.timeout(HANGS_SECONDS), Far().serving(credentials) as port:
        for believed in (theirs, authority):
            link = Certificates(link_files(believed)).channel_credentials()
            async with grpc.aio.secure_channel(f"127.0.0.1:{port}", link) as channel:
                check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
                if believed is theirs:
                    await check
                    continue
                with pytest.raises(grpc.RpcError, match="CERTIFICATE_VERIFY_FAILED"):
                    await check
