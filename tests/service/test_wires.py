"""Settings of TLS, and what a server says of wires that are open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.config import ServerSettings, StandaloneExtractorSettings, load_settings
from service.errors import InvalidSettings
from tests.authority import Authority


@pytest.fixture
def pki(tmp_path: Path) -> dict[str, Path]:
    authority = Authority(tmp_path / "pki")
    pair = authority.issue()
    return {"cert": pair.cert, "key": pair.key, "ca": authority.ca, "none": tmp_path / "none"}


def server(**values: Any) -> ServerSettings:
    return load_settings(ServerSettings, **values)


@pytest.mark.parametrize("cls", [ServerSettings, StandaloneExtractorSettings])
@pytest.mark.parametrize(
    ("field", "files"),
    [
        ("tls_key", {"tls_cert": "cert"}),
        ("tls_cert", {"tls_key": "key"}),
        ("tls_cert", {"tls_client_ca": "ca"}),
        ("tls_cert", {"tls_cert": "none", "tls_key": "key"}),
        ("tls_key", {"tls_cert": "cert", "tls_key": "ca"}),
        ("tls_client_ca", {"tls_cert": "cert", "tls_key": "key", "tls_client_ca": "none"}),
    ],
)
def test_files_that_cannot_be_used_are_refused_at_the_start(
    cls: type[ServerSettings], field: str, files: dict[str, str], pki: dict[str, Path]
) -> None:
    with pytest.raises(InvalidSettings, match=f"^{field}: "):
        load_settings(cls, **{name: pki[file] for name, file in files.items()})


@pytest.mark.parametrize(
    ("complaint", "values"),
    [
        ("extractor_tls_ca: must be given with extractor", {"extractor_tls_ca": "ca"}),
        (
            "extractor_tls_ca: a Unix socket is not encrypted",
            {"extractor": "unix:/a", "extractor_tls_ca": "ca"},
        ),
        ("extractor_tls_key: ", {"extractor": "gpu:1", "extractor_tls_cert": "cert"}),
        ("extractor_tls_ca: ", {"extractor": "gpu:1", "extractor_tls_ca": "none"}),
        ("trusted_proxies: each must be an IP", {"trusted_proxies": "10.0.0.1,proxy"}),
        ("trusted_proxies: each must be an IP", {"trusted_proxies": "*"}),
        ("label_studio_url: must be http", {"label_studio_url": "labels:8080"}),
        ("label_studio_url: must be http", {"label_studio_url": "http://labels/project"}),
        ("label_studio_token_file: must be given with", {"label_studio_token_file": "ca"}),
        (
            "label_studio_token_file: cannot be read",
            {"label_studio_url": "http://labels", "label_studio_token_file": "none"},
        ),
        (
            "label_studio_token_file: must hold at least 1",
            {"label_studio_url": "http://labels", "label_studio_token_file": "ca"},
        ),
    ],
)
def test_settings_of_a_server_that_make_no_sense_are_refused(
    complaint: str, values: dict[str, str], pki: dict[str, Path]
) -> None:
    with pytest.raises(InvalidSettings, match=f"^{complaint}"):
        server(**{name: pki.get(value, value) for name, value in values.items()})


def test_link_is_encrypted_where_its_address_or_a_file_says_so(pki: dict[str, Path]) -> None:
    assert server(extractor="gpu:50050").extractor_tls_files is None
    assert server(extractor="unix:/a").extractor_tls_files is None
    for address in ("https://gpu:50050", "grpcs://gpu:50050"):
        files = server(extractor=address).extractor_tls_files
        assert files is not None
        assert files.paths == ()
    assert server(extractor="gpu:1", extractor_tls_ca=pki["ca"]).extractor_tls_files is not None


def test_extractor_beyond_loopback_needs_a_key_or_an_authority_of_servers(
    pki: dict[str, Path], tmp_path: Path
) -> None:
    tls = {"tls_cert": pki["cert"], "tls_key": pki["key"]}
    for given in ({}, tls):
        with pytest.raises(InvalidSettings, match="extractor_key_file, or tls_client_ca"):
            load_settings(StandaloneExtractorSettings, host="0.0.0.0", **given)
    (tmp_path / "key").write_text("k" * 20)
    for given in ({**tls, "tls_client_ca": pki["ca"]}, {"extractor_key_file": tmp_path / "key"}):
        settings = load_settings(StandaloneExtractorSettings, host="0.0.0.0", **given)
        assert not settings.believes_anybody


def test_authority_of_servers_counts_for_nothing_on_a_unix_socket(
    pki: dict[str, Path], tmp_path: Path
) -> None:
    tls = {"tls_cert": pki["cert"], "tls_key": pki["key"], "tls_client_ca": pki["ca"]}
    settings = load_settings(StandaloneExtractorSettings, socket=tmp_path / "socket", **tls)
    assert settings.believes_anybody


def test_wires_are_open_where_keys_travel_beyond_loopback_without_tls(
    pki: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("k" * 20)
    tls = {"tls_cert": pki["cert"], "tls_key": pki["key"]}
    shared = {"extractor_key_file": tmp_path / "key"}
    assert server().open_wires == []
    assert server(auth="required").open_wires == []
    assert server(host="0.0.0.0").open_wires == ["0.0.0.0"]
    assert server(host="0.0.0.0", **tls).open_wires == []
    assert server(host="0.0.0.0", insecure=True).open_wires == [], "no keys travel"
    assert server(extractor="gpu:50050", **shared).open_wires == ["gpu:50050"]
    for address in ("https://gpu:50050", "127.0.0.1:50050", "unix:/a"):
        assert server(extractor=address, **shared).open_wires == []
    for given, wires in (({}, ["0.0.0.0"]), (tls, [])):
        far = load_settings(StandaloneExtractorSettings, host="0.0.0.0", **shared, **given)
        assert far.open_wires == wires
