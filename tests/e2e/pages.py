"""What every server shows to a browser."""

from __future__ import annotations

import httpx


def check_pages(http: httpx.Client) -> None:
    """The pages are ours, and BentoML's, which load from other hosts, are not to be had."""
    home = http.get("/")
    assert "<title>Trunkline</title>" in home.text
    assert "default-src 'none'" in home.headers["content-security-policy"]
    for path in ("/docs", "/docs/swagger-ui-bundle.js", "/openapi.json"):
        assert http.get(path).status_code == 200
    for path in ("/docs.json", "/static_content/index.css", "/nowhere"):
        answer = http.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
