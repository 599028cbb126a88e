"""Bytes in JSON are base64, and nothing else."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.transport.base64_text import read_base64

PNG = b"\x89PNG\r\n\x1a\n\xfb\xff\xfe"
TEXT = base64.b64encode(PNG).decode()


@given(
    st.binary(max_size=40), st.booleans(), st.booleans(), st.sampled_from(["", "\n", "\r\n ", "\t"])
)
def test_either_alphabet_with_or_without_padding_and_white_space_is_read(
    data: bytes, url_safe: bool, padded: bool, space: str
) -> None:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    text = encode(data).decode()
    text = text if padded else text.rstrip("=")
    assert read_base64(space.join(text), "f") == data


@given(st.binary(min_size=1, max_size=40), st.data())
def test_any_other_character_is_refused_and_named(data: bytes, draw: st.DataObject) -> None:
    text = base64.b64encode(data).decode().rstrip("=")
    place = draw.draw(st.integers(0, len(text) - 1))
    other = draw.draw(st.sampled_from("\ufffd!\x00.,:\u00e9\ud83d@\u00a0"))
    damaged = text[:place] + other + text[place + 1 :]
    with pytest.raises(InvalidRequest, match=f"character {place + 1} is") as caught:
        read_base64(damaged, "inputs[0].image")
    assert (caught.value.field, caught.value.limit) == ("inputs[0].image", "base64")


@given(st.binary(min_size=4, max_size=40), st.integers(1, 3))
def test_end_that_was_cut_off_is_refused_unless_whole_bytes_are_left(
    data: bytes, missing: int
) -> None:
    text = base64.b64encode(data).decode().rstrip("=")[:-missing]
    try:
        read = read_base64(text, "f")
    except InvalidRequest:
        return
    assert base64.b64encode(read).decode().rstrip("=") == text


@pytest.mark.parametrize(
    "text",
    ["a", "YWJjZ", "YQ=", "YQ===", "YWJj=", "=", "Y=Q=", "YQ==YQ==", "YR==", "YWK=", "YQ=\n"],
)
def test_length_or_padding_that_no_encoder_writes_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_base64(text, "f")
    assert caught.value.field == "f"


@pytest.mark.parametrize(
    "before", ["data:image/png;base64,", "data:;base64,", "DATA:a/b;x=y;BASE64,"]
)
def test_data_uri_is_read(before: str) -> None:
    assert read_base64(before + TEXT, "f") == PNG
    assert read_base64(before + TEXT.replace("+", "%2B").replace("=", "%3D"), "f") == PNG


@pytest.mark.parametrize("text", ["data:text/plain,hello", "data:image/svg+xml;utf8,<svg/>"])
def test_data_uri_that_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="must have its data in base64"):
        read_base64(text, "f")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("http://example.com/a.jpg", "looks like an address"),
        ("s3://bucket/a.jpg", "looks like an address"),
        ("file:///tmp/a.jpg", "looks like an address"),
        ("photos/cat.jpg", "looks like a path"),
        ("cat.jpeg", "looks like a path"),
        ("/home/me/my cat.png", "looks like a path"),
        ("C:\\photos\\cat.png", "looks like a path"),
        ("~/cat.png", "looks like a path"),
        ("head.safetensors", "looks like a path"),
        ("../é", "looks like a path"),
        ("\\\\host\\share", "looks like a path"),
    ],
)
def test_address_or_path_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(InvalidRequest, match=hint):
        read_base64(text, "f")


def test_damaged_base64_of_a_jpeg_is_not_called_a_path() -> None:
    text = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(90)).decode()
    with pytest.raises(InvalidRequest) as caught:
        read_base64(text[:40] + "\ufffd" * 4 + text[44:], "f")
    assert text.startswith("/")
    assert "character 41" in str(caught.value)
    assert "path" not in str(caught.value)
