"""Files that people send as images and that are not read, named for what they are."""

from __future__ import annotations

from collections.abc import Callable

_CONVERT = "convert it to JPEG or PNG"
_FRAME = "send one of its frames as JPEG or PNG"
_RENDER = "render it to PNG"
_UNPACK = "unpack it and send the images inside"
_RAW = "develop it to JPEG or PNG"
_TEXT = "an image whose bytes were taken for text on the way"
_BINARY = "send the bytes of the file, read and written as binary"
_RENDERED_PAGE = "render the page to PNG, or send the images inside"

_MANGLED = (
    b"\xef\xbf\xbd\xef\xbf\xbd",  # a JPEG decoded as UTF-8, what is none replaced
    b"\xef\xbf\xbdPNG",
    b"\xc3\xbf\xc3\x98\xc3\xbf",  # a JPEG decoded as Latin-1
    b"\xc2\x89PNG",
    b"\x89PNG\n\x1a",  # line ends of Unix
    b"\x89PNG\r\r\n",  # line ends of Windows
    b"\x89PNG\r\n\x1a\r\n",
)
"""How pictures begin that something took for text."""

_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image", _CONVERT),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image", _CONVERT),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL image", _CONVERT),
    (0, b"\xff\x0a", "a JPEG XL image", _CONVERT),
    (0, b"II\xbc", "a JPEG XR image", _CONVERT),
    (0, b"8BPS", "a Photoshop image (PSD)", _CONVERT),
    (0, b"%PDF", "a PDF document", _RENDERED_PAGE),
    (0, b"%!PS", "a PostScript document", _RENDER),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript document", _RENDER),
    (0, b"\x00\x00\x01\x00", "a Windows icon (ICO)", _CONVERT),
    (0, b"\x00\x00\x02\x00", "a Windows cursor (CUR)", _CONVERT),
    (0, b"icns", "an Apple icon (ICNS)", _CONVERT),
    (0, b"II+\x00", "a BigTIFF image", "convert it to TIFF or PNG"),
    (0, b"MM\x00+", "a BigTIFF image", "convert it to TIFF or PNG"),
    (0, b"\x8aMNG", "an MNG animation", _FRAME),
    (0, b"\x8bJNG", "a JNG image", _CONVERT),
    (0, b"gimp xcf", "a GIMP image (XCF)", _CONVERT),
    (0, b"qoif", "a QOI image", _CONVERT),
    (0, b"BPG\xfb", "a BPG image", _CONVERT),
    (0, b"FLIF", "a FLIF image", _CONVERT),
    (0, b"farbfeld", "a farbfeld image", _CONVERT),
    (0, b"DDS ", "a DirectDraw texture (DDS)", _CONVERT),
    (0, b"\xabKTX", "a KTX texture", _CONVERT),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image", "map its tones and save it as PNG"),
    (0, b"#?RADIANCE", "a Radiance HDR image", "map its tones and save it as PNG"),
    (0, b"#?RGBE", "a Radiance HDR image", "map its tones and save it as PNG"),
    (0, b"SIMPLE  =", "a FITS image", _CONVERT),
    (128, b"DICM", "a DICOM image", _CONVERT),
    (0, b"AT&TFORM", "a DjVu document", _RENDERED_PAGE),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)", _RENDER),
    (40, b" EMF", "a Windows metafile (EMF)", _RENDER),
    (0, b"\x01\xda", "an SGI image", _CONVERT),
    (0, b"\x59\xa6\x6a\x95", "a Sun raster image", _CONVERT),
    (0, b"/* XPM", "an XPM image", _CONVERT),
    (0, b"#define ", "an XBM image", _CONVERT),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw image (RAF)", _RAW),
    (0, b"IIRO", "a camera's raw image (ORF)", _RAW),
    (0, b"IIRS", "a camera's raw image (ORF)", _RAW),
    (0, b"MMOR", "a camera's raw image (ORF)", _RAW),
    (0, b"IIU\x00", "a camera's raw image (RW2)", _RAW),
    (0, b"FOVb", "a camera's raw image (X3F)", _RAW),
    (0, b"\x00MRM", "a camera's raw image (MRW)", _RAW),
    (8, b"AVI ", "a video (AVI)", _FRAME),
    (0, b"\x1a\x45\xdf\xa3", "a video (Matroska, WebM)", _FRAME),
    (0, b"\x00\x00\x01\xba", "a video (MPEG)", _FRAME),
    (0, b"\x00\x00\x01\xb3", "a video (MPEG)", _FRAME),
    (0, b"FLV\x01", "a video (FLV)", _FRAME),
    (8, b"WAVE", "a sound (WAV)", "send the image itself"),
    (0, b"ID3", "a sound (MP3)", "send the image itself"),
    (0, b"OggS", "a sound or video (Ogg)", "send the image itself"),
    (0, b"PK\x03\x04", "a ZIP archive or an Office document", _UNPACK),
    (0, b"PK\x05\x06", "an empty ZIP archive", _UNPACK),
    (0, b"\x1f\x8b", "gzip-compressed data", _UNPACK),
    (0, b"BZh", "bzip2-compressed data", _UNPACK),
    (0, b"\xfd7zXZ", "xz-compressed data", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "zstd-compressed data", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\xd0\xcf\x11\xe0", "an Office document or a folder's previews", _UNPACK),
    (0, b"\x00\x05\x16\x07", "a macOS side file (._name)", "send the file that it stands beside"),
    (0, b"\x93NUMPY", "a numpy array", "send its pixels as a tensor, or save it as PNG"),
    (0, b"\x89HDF", "an HDF5 file", "send its pixels as a tensor, or save it as PNG"),
    (0, b"version https://git-lfs", "a pointer of Git LFS", "fetch the file (git lfs pull)"),
    (0, b"{\\rtf", "an RTF document", "send the images inside"),
    (0, b"data:", "a data: URI", "send the bytes that it holds"),
    (0, b"/9j/", "an image in base64", "send the bytes that it stands for"),
    (0, b"iVBORw0KGgo", "an image in base64", "send the bytes that it stands for"),
    (0, b"R0lGOD", "an image in base64", "send the bytes that it stands for"),
    (0, b"UklGR", "an image in base64", "send the bytes that it stands for"),
    *((0, start, _TEXT, _BINARY) for start in _MANGLED),
    (0, b"http://", "an address", "send what it leads to"),
    (0, b"https://", "an address", "send what it leads to"),
)
"""Offset and bytes of the signature, what it is, what to do."""

_BRANDS = {
    b"avif": ("an AVIF image", _CONVERT),
    b"avis": ("an AVIF animation", _FRAME),
    b"crx ": ("a camera's raw image (CR3)", _RAW),
    **dict.fromkeys(
        (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"mif2"),
        ("a HEIC image", _CONVERT),
    ),
}
"""Of ISO base media files (ISO/IEC 14496-12, 4.3); others are videos."""

_NETPBM = {
    b"1": "PBM",
    b"2": "PGM",
    b"3": "PPM",
    b"4": "PBM",
    b"5": "PGM",
    b"6": "PPM",
    b"7": "PAM",
    b"F": "PFM",
    b"f": "PFM",
}
_TARGA_KINDS, _TARGA_BITS = (b"\2", b"\3", b"\x0a", b"\x0b"), (8, 16, 24, 32)
_MARKUP_BYTES = 4096
"""How far an SVG may be from the beginning of its file: comments and declarations come first."""


def describe(raw: bytes) -> str | None:
    """Returns what a file is that is of no format that is read, and what to do; None if unknown."""
    kinds: tuple[Callable[[bytes], tuple[str, str] | None], ...] = (
        _targa,
        _by_signature,
        _by_brand,
        _netpbm,
        _markup,
        _blank,
    )
    found = next((kind for look in kinds if (kind := look(raw)) is not None), None)
    return None if found is None else f"is {found[0]}, which is not read: {found[1]}"


def _targa(raw: bytes) -> tuple[str, str] | None:
    """Tells Truevision's TGA, without a palette, by its header; one of a cursor counts pictures."""
    header = raw[:2] == b"\0\0" and raw[2:3] in _TARGA_KINDS and len(raw) > 18
    if header and not any(raw[3:12]) and raw[16] in _TARGA_BITS:
        return "a Targa image (TGA)", _CONVERT
    return None


def _by_signature(raw: bytes) -> tuple[str, str] | None:
    for offset, signature, what, remedy in _SIGNATURES:
        if raw.startswith(signature, offset):
            return what, remedy
    return None


def _by_brand(raw: bytes) -> tuple[str, str] | None:
    if raw[4:8] != b"ftyp":
        return None
    length = min(int.from_bytes(raw[:4], "big"), 256)
    brands = [raw[8:12], *(raw[at : at + 4] for at in range(16, length, 4))]
    # A file's first brand may be a general one, such as mif1, and the precise one follow.
    known = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    precise = [kind for kind in known if "AVIF" in kind[0]]
    return (precise or known or [("a video (MP4, MOV)", _FRAME)])[0]


def _netpbm(raw: bytes) -> tuple[str, str] | None:
    if raw[:1] == b"P" and raw[1:2] in _NETPBM and raw[2:3].isspace():
        return f"a {_NETPBM[raw[1:2]]} image", _CONVERT
    return None


def _markup(raw: bytes) -> tuple[str, str] | None:
    text = _as_ascii(raw[:_MARKUP_BYTES]).lstrip().lower()
    if not text.startswith("<"):
        if text.startswith(("{", "[{", '["')):
            return "JSON, such as an error in place of an image", "look at what it says"
        return None
    html = any(f"<{tag}" in text for tag in ("!doctype html", "html", "head", "body", "script"))
    # Pages hold drawings, and drawings hold scripts: what comes first decides.
    at = text.find("<svg")
    page = text.find("<html") if "<html" in text else text.find("<!doctype html")
    if at >= 0 and not 0 <= page < at:
        return "an SVG drawing", _RENDER
    if html:
        return "an HTML page", "send the image itself; the page may say why it was not to be had"
    return "XML, such as an error in place of an image", "look at what it says"


def _blank(raw: bytes) -> tuple[str, str] | None:
    if len(raw) >= 8 and not any(raw[:1024]):
        return "a file that begins with zeros alone", "copy or download it once more"
    return None


def _as_ascii(raw: bytes) -> str:
    """Decodes what is ASCII in a text of any usual encoding."""
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if raw.startswith(mark):
            return raw[2:].decode(encoding, "ignore")
    return raw.removeprefix(b"\xef\xbb\xbf").decode("ascii", "ignore")
