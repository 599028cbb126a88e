"""What every refusal has in common."""

from __future__ import annotations

from tests.e2e.processes import ROOT, Running

TENANT = "tenants/bounds"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9"/></svg>'
SECRETS = ("Traceback", 'File "', ".py", "site-packages", str(ROOT))


def assert_tells_no_secret(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text, text


def assert_logged(server: Running, request_id: str) -> None:
    assert request_id
    assert request_id in server.log.read_text()
