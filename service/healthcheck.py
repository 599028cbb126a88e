"""Whether the server in this container is ready; what the images' HEALTHCHECK runs.

It uses the standard library alone, as it runs every few seconds. Whether the port speaks TLS is
found by asking, so that it holds for flags, variables and files alike; the port alone is taken from
TRUNKLINE_REST_PORT. Certificates are not checked: whoever answers on the container's own loopback
is the server. One that wants a certificate of its clients (tls_client_ca) cannot be asked: there
it counts that it speaks TLS.
"""

from __future__ import annotations

import os
import ssl
import sys
from http.client import BadStatusLine, HTTPConnection, HTTPSConnection

HOST, SECONDS = "127.0.0.1", 2


def is_ready(port: int) -> bool:
    """Returns whether the server on a port is ready.

    Raises:
        OSError: nobody listens, or nothing is answered in time.
    """
    try:
        return _status(HTTPConnection(HOST, port, timeout=SECONDS)) == 200
    except (BadStatusLine, ConnectionResetError):  # a port that speaks TLS hangs up
        pass
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # which tells clients that they lack one later
    connection = HTTPSConnection(HOST, port, timeout=SECONDS, context=context)
    connection.connect()
    try:
        return _status(connection) == 200
    except (BadStatusLine, ConnectionError, ssl.SSLError):
        return True  # it wants a certificate


def _status(connection: HTTPConnection) -> int:
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    finally:
        connection.close()


if __name__ == "__main__":
    try:
        sys.exit(0 if is_ready(int(os.environ.get("TRUNKLINE_REST_PORT", "3000"))) else 1)
    except OSError as error:
        sys.exit(f"not ready: {error}")
