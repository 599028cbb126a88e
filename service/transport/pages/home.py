"""What ``/`` shows: what this server is, where to read on, and how to call it."""

from __future__ import annotations

from trunkline.html_report.layout import document, section
from trunkline.html_report.markup import Markup, join, tag
from trunkline.version import __version__

_DEFAULT = "http://127.0.0.1:3000/"

_LINKS = (
    ("console", "to teach heads, try them and look after them, in this browser"),
    ("docs", "the REST API, to read and to try"),
    ("openapi.json", "the same as an OpenAPI 3.1 document, for tools"),
    ("readyz", "whether requests can be served now"),
    ("metrics", "metrics for Prometheus"),
)
_CALLS = """\
curl --fail-with-body {address}v1/backbones
curl --fail-with-body {address}v1/tenants/acme:embed -H 'Content-Type: application/json' \\
  -d '{{"inputs": [{{"text": "to be embedded"}}]}}'"""
_PYTHON = """\
import trunkline

with trunkline.Client("127.0.0.1:50051") as client:
    print(client.backbones())"""


def home_page(address: str | None) -> str:
    """Writes the page.

    Args:
        address: of this server, with a slash at the end, as whoever asks has reached it; None for
            the default one.
    """
    links = (
        tag("li", tag("a", tag("code", f"/{path}"), href=path), f": {words}")
        for path, words in _LINKS
    )
    return document(
        "Trunkline",
        tag("h1", "Trunkline ", tag("small", __version__)),
        tag("p", "One frozen backbone, a classification head for every tenant.", class_="about"),
        section("On this server", tag("ul", *links, class_="reasons")),
        section("Over REST", _code(_CALLS.format(address=address or _DEFAULT))),
        section(
            "Over gRPC",
            tag(
                "p",
                "The same methods, on a port of its own (50051 unless it was set otherwise), with "
                "reflection and health. The Python client and the command line use it.",
            ),
            _code(_PYTHON),
        ),
    )


def _code(text: str) -> Markup:
    # Whoever uses the keyboard alone can scroll what has a place in the order of tabs.
    return join(tag("div", tag("pre", tag("code", text)), class_="scroll", tabindex="0"))
