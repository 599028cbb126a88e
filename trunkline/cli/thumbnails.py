"""What a page shows of kept inputs beside their names: small pictures, or texts."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import TYPE_CHECKING

from trunkline.cli.naming import shown_name
from trunkline.cli.output import Output
from trunkline.clients.client import Client
from trunkline.html_report import pictured
from trunkline.values.inputs import Image, Input, Pixels, Text
from trunkline.values.reports import Report

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_MOST = 100
"""Pictures on a page."""

_SIDE = 96
"""Pixels of a picture's longer side: some 4 kB as JPEG."""

_MOST_PIXELS = 50_000_000
"""Of an input, as the server takes them by default."""

_AT_ONCE = 3
"""Inputs in one reply: so many of the largest fit."""


def with_kept_inputs(
    client: Client, out: Output, report: Report, names: Mapping[str, str]
) -> dict[str, str]:
    """Returns what the page calls the report's suspects, by digest: kept pictures beside names.

    Texts that are kept stand for themselves. At most `_MOST` inputs are asked for, those of the
    worst suspects first; what cannot be shown keeps its name, and is counted on standard error.
    """
    if not client.get_head(report.head).keep_inputs:
        return dict(names)
    shown, wanted = dict(names), list(dict.fromkeys(_digests(report)))
    failed = 0
    for begin in range(0, min(len(wanted), _MOST), _AT_ONCE):
        some = wanted[begin : min(begin + _AT_ONCE, _MOST)]
        for row in client.list_examples(report.head, digests=some, with_inputs=True):
            if isinstance(row.input, Text):
                shown.setdefault(row.digest, shown_name(row.input))
            elif data := _thumbnail(row.input):
                shown[row.digest] = pictured(row.digest, names, data)
            else:
                failed += row.has_input and row.kind != "embedding"
    if failed:
        out.say(f"{failed} of the page's kept inputs cannot be shown; pictures need Pillow")
    if len(wanted) > _MOST:
        out.say(f"{len(wanted) - _MOST} of the page's suspects have no picture: {_MOST} at most")
    return shown


def _digests(report: Report) -> Iterable[str]:
    for suspect in report.likely_mislabelled:
        yield suspect.digest
    for pair in report.near_duplicates:
        yield pair.digest
        yield pair.other_digest


def _thumbnail(item: Input | None) -> str:
    """Returns a small picture as a `data:` URI; empty for what is none or cannot be read."""
    try:
        from PIL import Image as Pictures
        from PIL import ImageOps
    except ImportError:
        return ""
    try:
        match item:
            case Image(data=bytes() as data):
                with Pictures.open(BytesIO(data)) as opened:
                    if opened.width * opened.height > _MOST_PIXELS:
                        return ""
                    opened.draft("RGB", (2 * _SIDE, 2 * _SIDE))
                    return _encoded(ImageOps.exif_transpose(opened))
            case Pixels(shape=(height, width, _), data=data):
                return _encoded(Pictures.frombytes("RGB", (width, height), bytes(data)))
    except Exception:  # Pillow's plugins raise nearly anything on broken bytes
        return ""
    return ""


def _encoded(picture: Picture) -> str:
    from PIL import Image as Pictures

    small = picture.convert("RGBA")
    small.thumbnail((_SIDE, _SIDE))
    ground = Pictures.new("RGBA", small.size, "white")
    file = BytesIO()
    Pictures.alpha_composite(ground, small).convert("RGB").save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
