"""Certificates: read from files, checked, and read again when the files change."""

from service.tls.certificates import Certificates, ReloadMetrics, certificates_of
from service.tls.files import InvalidCertificate, TlsFiles, TlsMaterial, read

__all__ = [
    "Certificates",
    "InvalidCertificate",
    "ReloadMetrics",
    "TlsFiles",
    "TlsMaterial",
    "certificates_of",
    "read",
]
