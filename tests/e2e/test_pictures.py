"""Damaged pictures fail alone, odd ones are read: over both transports and the command line."""

import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from service.requests.tensors import to_tensor
from tests.e2e.processes import Running, run
from tests.e2e.transports import Transport, image
from tests.models.image_samples import chunk, encoded, grey, packed, png, rgb, tiff, with_chunk
from trunkline.v1 import common_pb2

SIDE = 160
COLOUR, GREY = rgb(SIDE, SIDE), grey(SIDE, SIDE)


def damaged() -> bytes:
    """A PNG file with a bit flipped in the middle of its pixels."""
    raw = encoded(Image.fromarray(COLOUR), "PNG")
    at = len(raw) // 2
    return raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :]


def test_pixels_decide_whether_a_picture_is_read(transport: Transport, tenant: str) -> None:
    sound = encoded(Image.fromarray(COLOUR), "PNG")
    note = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 2_000_000))
    twelve = tiff(
        packed(GREY.astype(np.uint16) * 16 + GREY // 16, 12), (SIDE, SIDE), 12, photometric=1
    )
    inverted = (65535 - GREY.astype(np.uint16) * 257).astype("<u2").tobytes()
    value = int(GREY[5, 5])
    clear = png(GREY >> 4, 4, 0, chunk(b"tRNS", struct.pack(">H", value >> 4)))
    alpha = np.where(value >> 4 == GREY >> 4, 0, 255).astype(np.uint8)
    laid = Image.fromarray(np.dstack([(GREY >> 4) * 17, alpha]))
    pairs = [
        (with_chunk(sound, note), sound),
        (twelve, encoded(Image.fromarray(GREY), "PNG")),
        (tiff(inverted, (SIDE, SIDE), 16, photometric=0), encoded(Image.fromarray(GREY), "PNG")),
        (clear, encoded(laid, "PNG")),
    ]
    floats = tiff((COLOUR / 255).astype("<f4").tobytes(), (SIDE, SIDE), 32, 2, 3, kind=3)
    refused = {
        "image.data": [damaged(), encoded(Image.fromarray(COLOUR), "JPEG")[:-2]],
        "image.mode": [floats, tiff((GREY / 255).tobytes(), (SIDE, SIDE), 64, 1, kind=3)],
        "image.format": [b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"<html><body>404</body></html>"],
    }
    odd = [raw for raws in refused.values() for raw in raws]
    inputs = [image(raw) for pair in pairs for raw in pair] + [image(raw) for raw in odd]
    rows = transport.embed(tenant, inputs).rows
    read, failed = rows[: 2 * len(pairs)], rows[2 * len(pairs) :]
    for one, right in zip(read[::2], read[1::2], strict=True):
        assert one.error is None
        assert one.vector is not None
        assert right.vector is not None
        np.testing.assert_allclose(one.vector, right.vector, atol=1e-4)
    fields = [row.error.field for row in failed if row.error is not None]
    assert fields == [field for field, raws in refused.items() for _ in raws]
    messages = [row.error.message for row in failed if row.error is not None]
    assert "truncated or corrupt" in messages[0]
    assert "pixels of this kind" in messages[2]
    assert "HEIC" in messages[4]
    assert "HTML page" in messages[5]


def test_picture_that_costs_much_more_than_its_bytes_is_refused_by_field_limit_and_value(
    transport: Transport, tenant: str
) -> None:
    tall = [encoded(Image.new("L", (1, side)), "PNG") for side in (65_534, 65_535, 65_536)]
    progressive = encoded(Image.fromarray(GREY), "JPEG", progressive=True)
    own, last = progressive.count(b"\xff\xda"), progressive[progressive.rindex(b"\xff\xda") : -2]
    scans = [progressive[:-2] + last * (n - own) + progressive[-2:] for n in (99, 100, 101)]
    filling = b"\xff\xd8" + b"\xff" * (1 << 20)
    parts = with_chunk(tall[0], chunk(b"teSt", b"") * 65_536)
    tensors = [pixels((1, side)) for side in (65_534, 65_535, 65_536)]
    inputs = [image(raw) for raw in (*tall, *scans, filling, parts)] + tensors
    rows = transport.embed(tenant, inputs).rows
    errors = {
        i: (row.error.field, row.error.limit, row.error.value)
        for i, row in enumerate(rows)
        if row.error is not None
    }
    assert errors.pop(6)[0] == "image.data"
    assert errors == {
        2: ("image.side", "65535", "1x65536"),
        5: ("image.scans", "100", "101"),
        7: ("image.parts", "65536", "more than 65536"),
        10: ("pixels.side", "65535", "65536"),
    }


def pixels(shape: tuple[int, int]) -> common_pb2.Input:
    return common_pb2.Input(pixels=to_tensor(np.zeros((*shape, 3), np.uint8)))


def test_damaged_picture_is_named_and_not_trained_on(
    server: Running, tenant: str, tmp_path: Path
) -> None:
    for label, picture in (("plain", COLOUR), ("turned", COLOUR[::-1])):
        (tmp_path / label).mkdir()
        for shift in range(3):
            shifted = Image.fromarray(np.roll(picture, shift * 9, 1))
            shifted.save(tmp_path / label / f"{shift}.png")
    hurt = tmp_path / "plain" / "hurt.png"
    hurt.write_bytes(damaged())
    command = [sys.executable, "-m", "trunkline", "train", f"{tenant}/odd", str(tmp_path), "--json"]
    ended = run(command, TRUNKLINE_SERVER=server.grpc)
    assert ended.returncode == 1
    said = json.loads(ended.stdout)
    assert (said["upload"]["added"], said["upload"]["failed"]) == (6, 1)
    assert said["report"]["example_count"] == 6
    assert str(hurt) in ended.stderr
    assert "truncated or corrupt" in ended.stderr
