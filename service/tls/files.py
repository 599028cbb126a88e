"""Files of TLS: a certificate with its key, and the authorities that the other side must have."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

ALPN = ["http/1.1"]


class InvalidCertificate(ValueError):
    """A file of TLS cannot be used; the message names its setting and its path."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files, and the names of the settings that say where they are.

    Attributes:
        cert: a certificate, and those between it and its authority.
        key: the private key of `cert`; both or neither.
        ca: authorities, of whom the other side must have a certificate.
        names: of the settings of `cert`, `key` and `ca`.
    """

    cert: Path | None
    key: Path | None
    ca: Path | None
    names: tuple[str, str, str]

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that there are to be."""
        return tuple(path for path in (self.cert, self.key, self.ca) if path is not None)

    def contents(self) -> tuple[bytes | None, ...]:
        """Returns what is in each file now; None for those that cannot be read."""
        return tuple(map(_bytes_or_none, self.paths))


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What was in the files, and found good.

    Attributes:
        chain, key, ca: PEM; None where no file is named.
        expires_at: when the first certificate of the chain expires, in seconds since 1970; None if
            there is none.
        context: for a server of HTTP; None without a certificate.
    """

    chain: bytes | None
    key: bytes | None
    ca: bytes | None
    expires_at: float | None
    context: ssl.SSLContext | None


def read(files: TlsFiles) -> TlsMaterial:
    """Reads the files, and checks that they can be used and belong together.

    That a certificate has expired is no fault here: the other side finds it, and a clock that is
    wrong must not keep a server from starting.

    Raises:
        InvalidCertificate: naming setting and path.
    """
    cert_name, key_name, ca_name = files.names
    if (files.cert is None) != (files.key is None):
        lacking, given = (cert_name, key_name) if files.cert is None else (key_name, cert_name)
        raise InvalidCertificate(f"{lacking}: must be given with {given}")
    chain = _read(files.cert, cert_name)
    key = _read(files.key, key_name)
    ca = _read(files.ca, ca_name)
    authorities = _certificates(ca, files.ca, ca_name)
    certificates = _certificates(chain, files.cert, cert_name)
    context = None
    if files.cert is not None and files.key is not None:
        _check_pair(certificates[0], key or b"", files)
        context = _server_context(files.cert, files.key, cert_name, authorities)
    return TlsMaterial(
        chain,
        key,
        ca,
        min((one.not_valid_after_utc.timestamp() for one in certificates), default=None),
        context,
    )


def folders_of(path: Path) -> Iterator[Path]:
    """Yields the folders in which something must change if what a path leads to is to change.

    That are the folder of the file, and those of all symbolic links on the way to it: Kubernetes
    puts another folder in a link's place, and tools for certificates another file.
    """
    seen: set[Path] = set()
    waiting = [path.absolute()]
    while waiting:
        current = waiting.pop()
        for part in (current, *current.parents):
            if part.is_symlink() and part not in seen:
                seen.add(part)
                yield part.parent
                waiting.append(part.parent / part.readlink() / current.relative_to(part))
    yield _nearest_folder(path.absolute().parent)


def _nearest_folder(folder: Path) -> Path:
    """Returns the folder, or the next one above it that exists."""
    return next(one for one in (folder, *folder.parents) if one.is_dir())


def _bytes_or_none(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _read(path: Path | None, name: str) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidCertificate(f"{name}: {path} cannot be read: {error.strerror}") from error


def _certificates(pem: bytes | None, path: Path | None, name: str) -> list[x509.Certificate]:
    if pem is None:
        return []
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidCertificate(f"{name}: {path} holds no certificates in PEM") from error


def _check_pair(certificate: x509.Certificate, key: bytes, files: TlsFiles) -> None:
    cert_name, key_name, _ = files.names
    try:
        private = load_pem_private_key(key, None)
    except TypeError as error:  # OpenSSL would ask the terminal for the passphrase
        raise InvalidCertificate(
            f"{key_name}: {files.key} is encrypted; a key without a passphrase is needed"
        ) from error
    except ValueError as error:
        raise InvalidCertificate(f"{key_name}: {files.key} holds no private key in PEM") from error
    if private.public_key() != certificate.public_key():
        raise InvalidCertificate(
            f"{key_name}: {files.key} is not the key of the certificate in {files.cert} "
            f"({cert_name})"
        )


def _server_context(
    cert: Path, key: Path, name: str, authorities: list[x509.Certificate]
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(ALPN)
    try:
        context.load_cert_chain(cert, key, password="")  # never asks
        if authorities:
            der = b"".join(one.public_bytes(Encoding.DER) for one in authorities)
            context.load_verify_locations(cadata=der)
            context.verify_mode = ssl.CERT_REQUIRED
    except (ssl.SSLError, OSError) as error:
        raise InvalidCertificate(f"{name}: {cert} cannot be used: {error}") from error
    return context
