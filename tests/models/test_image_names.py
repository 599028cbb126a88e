"""What is sent in place of an image is named, with what to do."""

import gzip
import io

import numpy as np
import pytest
from PIL import Image

from models import InputLimits, InvalidInput
from models.images import ImagePreprocessor
from tests.models.image_samples import encoded, rgb, sound

preprocessor = ImagePreprocessor(32, InputLimits())
PICTURE = Image.fromarray(rgb(40, 40))


def ftyp(*brands: bytes) -> bytes:
    body = brands[0] + bytes(4) + b"".join(brands[1:])
    return (len(body) + 8).to_bytes(4, "big") + b"ftyp" + body + bytes(40)


def numpy_file() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, rgb(9, 9))
    return buffer.getvalue()


def as_text(raw: bytes) -> bytes:
    return raw.decode("utf-8", "replace").encode()


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
SENT = {
    "HEIC": ftyp(b"heic", b"mif1", b"heic"),
    "HEIC of a burst": ftyp(b"msf1", b"hevc"),
    "HEIC, general": ftyp(b"mif1"),
    "AVIF": ftyp(b"avif", b"mif1"),
    "AVIF, general": ftyp(b"mif1", b"miaf", b"avif"),
    "AVIF by Pillow": encoded(PICTURE, "AVIF"),
    "MP4": ftyp(b"isom", b"mp42"),
    "CR3": ftyp(b"crx "),
    "SVG": SVG,
    "SVG, declared": b'<?xml version="1.0"?>\n<!-- drawn -->\n' + SVG,
    "SVG, UTF-16": ('<?xml version="1.0"?>' + SVG.decode()).encode("utf-16"),
    "HTML": b"\n<!DOCTYPE html><html><body>Not found</body></html>",
    "HTML, UTF-8": b"\xef\xbb\xbf<HTML><head><title>Sign in</title>",
    "HTML with a drawing": b"<!doctype html><html><body>" + SVG,
    "XML": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "JSON": b'{"error": "not found"}',
    "PDF": b"%PDF-1.7",
    "PSD": b"8BPS\0\1" + bytes(20),
    "JPEG 2000": encoded(PICTURE, "JPEG2000"),
    "JPEG 2000, bare": b"\xff\x4f\xff\x51" + bytes(20),
    "JPEG XL": b"\xff\x0a" + bytes(20),
    "JPEG XL, boxed": b"\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG XR": b"II\xbc\1" + bytes(20),
    "ICO": encoded(PICTURE, "ICO"),
    "PPM": encoded(PICTURE, "PPM"),
    "PGM": encoded(PICTURE.convert("L"), "PPM"),
    "BigTIFF": b"II+\0\x08\0\0\0" + bytes(20),
    "DICOM": bytes(128) + b"DICM" + bytes(20),
    "DDS": encoded(PICTURE.convert("RGBA"), "DDS"),
    "QOI": encoded(PICTURE, "QOI"),
    "WebM": b"\x1a\x45\xdf\xa3" + bytes(20),
    "AVI": b"RIFF\x24\0\0\0AVI LIST",
    "WAV": b"RIFF\x24\0\0\0WAVEfmt ",
    "ZIP": b"PK\x03\x04" + bytes(20),
    "gzip": gzip.compress(SVG),
    "base64": b"iVBORw0KGgoAAAANSUhEUg",
    "base64 ": b"/9j/4AAQSkZJRg",
    "data: URI": b"data:image/png;base64,iVBORw0",
    "address": b"https://example.org/photo.jpg",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "macOS": b"\0\x05\x16\x07" + bytes(20),
    "numpy": numpy_file(),
    "zeros": bytes(5000),
    "CUR": b"\0\0\2\0\1\0" + bytes(40),
    "TGA": encoded(PICTURE, "TGA"),
    "TGA, packed": encoded(PICTURE, "TGA", compression="tga_rle"),
    "TGA, grey": encoded(PICTURE.convert("L"), "TGA"),
    "text, a JPEG that was decoded": as_text(encoded(PICTURE, "JPEG")),
    "text, a PNG that was decoded": as_text(encoded(PICTURE, "PNG")),
    "text, a JPEG that was encoded": encoded(PICTURE, "JPEG").decode("latin-1").encode(),
    "text, a PNG that was encoded": encoded(PICTURE, "PNG").decode("latin-1").encode(),
    "text, with line ends of Unix": encoded(PICTURE, "PNG").replace(b"\r\n", b"\n"),
    "text, with line ends of Windows": encoded(PICTURE, "PNG").replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("name", SENT)
def test_other_format_is_named_with_what_to_do(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        preprocessor.prepare(SENT[name])
    error = caught.value
    assert error.field == "image.format"
    assert name.split(",")[0].split()[0].lower() in str(error).lower()
    assert "which is not read: " in str(error)
    assert error.limit == "JPEG, PNG, WebP, GIF, BMP, TIFF"


@pytest.mark.parametrize("raw", [b"x", b"RIFF", b"\xde\xad\xbe\xef" * 9, b"Just a text."])
def test_unknown_bytes_are_shown(raw: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        preprocessor.prepare(raw)
    assert caught.value.field == "image.format"
    assert caught.value.value == f"starts with {raw[:8].hex(' ')}"
    assert "of no known format" in str(caught.value)


def test_pictures_are_not_taken_for_anything_else() -> None:
    for _, raw in sound():
        assert preprocessor.prepare(raw).cost
