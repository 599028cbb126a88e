"""TLS of a client: whom it trusts, and the certificate that it shows."""

import os
import ssl
from pathlib import Path

import grpc

from trunkline.connection.addresses import is_encrypted
from trunkline.errors import InvalidArgument

PathLike = str | os.PathLike[str]

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def credentials_for(
    address: str,
    ca: PathLike | None,
    client_cert: PathLike | None,
    client_key: PathLike | None,
) -> grpc.ChannelCredentials | None:
    """Returns what a channel over TLS needs; None where the address and the files speak of none.

    Whoever names a file means TLS, whatever the address says. Without a `ca` those are trusted whom
    the system trusts. Raises `InvalidArgument` for files that cannot be used.
    """
    named = [
        field
        for field, path in (("ca", ca), ("client_cert", client_cert), ("client_key", client_key))
        if path
    ]
    if address.startswith("unix:") and named:
        raise _fault(named[0], "a Unix socket is not encrypted, and takes no certificates")
    if not named and not is_encrypted(address):
        return None
    if bool(client_cert) != bool(client_key):
        raise _fault(
            "client_key" if client_cert else "client_cert",
            "a client's certificate and its key must be given together",
        )
    roots = _read_ca(ca) if ca else system_roots()
    if not client_cert or not client_key:
        return grpc.ssl_channel_credentials(roots)
    return grpc.ssl_channel_credentials(roots, *_read_pair(client_cert, client_key))


def system_roots() -> bytes | None:
    """Returns the authorities that this machine trusts, in PEM; `SSL_CERT_FILE` names others.

    None where they are not found: grpcio then takes those that it ships.
    """
    for path in (ssl.get_default_verify_paths().cafile, *_BUNDLES):
        if path and os.path.isfile(path):
            return Path(path).read_bytes()
    return None


def _read_ca(path: PathLike) -> bytes:
    pem = _read(path, "ca")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        raise _fault("ca", "holds no certificates in PEM", path) from error
    return pem


def _read_pair(cert: PathLike, key: PathLike) -> tuple[bytes, bytes]:
    chain, private = _read(cert, "client_cert"), _read(key, "client_key")
    try:
        # Without a password OpenSSL would ask the terminal for that of an encrypted key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert, key, password="")
    except OSError as error:
        raise _fault(
            "client_key",
            f"is not the key of the certificate in {os.fspath(cert)}, or they are no PEM, or the "
            "key is encrypted",
            key,
        ) from error
    return private, chain


def _read(path: PathLike, field: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise _fault(field, f"cannot be read: {reason}", path) from error


def _fault(field: str, words: str, path: PathLike | None = None) -> InvalidArgument:
    value = "" if path is None else str(path)
    return InvalidArgument(f"{field}: {value} {words}".replace("  ", " "), field=field, value=value)
