"""Files of TLS are refused with words that name the setting and the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from service.tls import InvalidCertificate, TlsFiles, read
from service.tls.files import folders_of
from tests.authority import NAMES, Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def refusal(files: TlsFiles) -> str:
    with pytest.raises(InvalidCertificate) as caught:
        read(files)
    return str(caught.value)


def test_good_pair_is_read_and_says_when_it_expires(authority: Authority) -> None:
    pair = authority.issue()
    material = read(pair.files(authority.ca))
    assert (material.chain, material.key) == (pair.cert.read_bytes(), pair.key.read_bytes())
    assert material.expires_at is not None
    assert material.context is not None


def test_authorities_alone_are_what_a_client_may_have(authority: Authority) -> None:
    material = read(TlsFiles(None, None, authority.ca, NAMES))
    assert (material.chain, material.context, material.expires_at) == (None, None, None)


def test_missing_file_is_named_with_its_setting(authority: Authority, tmp_path: Path) -> None:
    pair, nowhere = authority.issue(), tmp_path / "nowhere.pem"
    assert refusal(Pair(nowhere, pair.key).files()).startswith(f"tls_cert: {nowhere} cannot be")
    assert refusal(Pair(pair.cert, nowhere).files()).startswith(f"tls_key: {nowhere} cannot be")
    assert refusal(pair.files(nowhere)).startswith(f"tls_client_ca: {nowhere} cannot be read")


def test_file_that_is_no_pem_is_named_with_its_setting(
    authority: Authority, tmp_path: Path
) -> None:
    pair, text = authority.issue(), tmp_path / "text"
    text.write_text("neither")
    assert refusal(Pair(text, pair.key).files()) == f"tls_cert: {text} holds no certificates in PEM"
    assert refusal(Pair(pair.cert, text).files()) == f"tls_key: {text} holds no private key in PEM"
    assert refusal(pair.files(text)) == f"tls_client_ca: {text} holds no certificates in PEM"


def test_half_a_pair_and_two_halves_of_different_ones_are_refused(authority: Authority) -> None:
    one, other = authority.issue("one"), authority.issue("other")
    assert "tls_key: must be given with tls_cert" in refusal(TlsFiles(one.cert, None, None, NAMES))
    assert "tls_cert: must be given with tls_key" in refusal(TlsFiles(None, one.key, None, NAMES))
    mixed = refusal(Pair(one.cert, other.key).files())
    assert mixed.startswith(f"tls_key: {other.key} is not the key of the certificate in {one.cert}")


def test_encrypted_key_is_refused_rather_than_asked_for_its_passphrase(
    authority: Authority,
) -> None:
    pair = authority.issue()
    key = load_pem_private_key(pair.key.read_bytes(), None)
    pair.key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    )
    assert "is encrypted" in refusal(pair.files())


def test_folders_of_all_links_to_a_file_are_watched(tmp_path: Path) -> None:
    """As Kubernetes lays secrets out, and below a folder that is a link itself."""
    version = tmp_path / "mount" / "..2026"
    version.mkdir(parents=True)
    (version / "tls.crt").touch()
    (tmp_path / "mount" / "..data").symlink_to("..2026")
    (tmp_path / "mount" / "tls.crt").symlink_to("..data/tls.crt")
    (tmp_path / "current").symlink_to(tmp_path / "mount")
    folders = {folder.resolve() for folder in folders_of(tmp_path / "current" / "tls.crt")}
    assert {tmp_path, tmp_path / "mount"} <= folders


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert {tmp_path} <= set(folders_of(tmp_path / "a"))
