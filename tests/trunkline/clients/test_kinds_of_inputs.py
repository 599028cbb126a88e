"""What callers give is taken or refused by its type, and never letter by letter."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import trunkline
from tests.trunkline.recording import Recorder
from tests.trunkline.steps import trained
from trunkline import AsyncClient, Client, Image, NewExample, Pixels, Prediction, RowFailure, Text
from trunkline.sklearn import estimator_of
from trunkline.values.inputs import as_input

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
PICTURE = Pillow.fromarray(PIXELS)


class DataFrame:
    """Stands for a table of pandas, which is known by its module; it iterates over its columns."""

    columns = ("text", "label")
    __iter__ = columns.__iter__


DataFrame.__module__ = "pandas.core.frame"


class LazyFrame(DataFrame):
    """Stands for a table of polars that is not read yet."""

    def collect(self) -> DataFrame:
        return DataFrame()


async def coming() -> AsyncIterator[str]:
    yield "good"


ONE_ALONE: list[tuple[Any, str]] = [
    ("one string", "in [brackets]"),
    (b"one image", "in [brackets]"),
    (bytearray(b"one image"), "in [brackets]"),
    (Path("one.png"), "in [brackets]"),
    (Text("one"), "in [brackets]"),
    (Image(b"one"), "in [brackets]"),
    (Pixels(PIXELS), "in [brackets]"),
    (PICTURE, "in [brackets]"),
    (PIXELS, "in [brackets], as [height, width, 3]"),
    (PIXELS[0], "in [brackets], as [height, width, 3]"),
    (np.array("one string"), "in [brackets]"),
    (np.zeros(384, np.float32), "Vector(fingerprint, row)"),
    (np.zeros((5, 384)), "Vector(fingerprint, row)"),
    (np.zeros((5, 8, 8, 3)), "uint8"),
    (np.array([b"one\0", b"two\0"]), "zero bytes"),
    (np.zeros(5, np.int64), "uint8 of shape"),
    (np.array(["2020-01-01"], "M8[D]"), "uint8 of shape"),
    (DataFrame(), 'table["text"]'),
    (LazyFrame(), "collect it first"),
    ({"a": "good"}, "list("),
    ({"good", "bad"}, "no order"),
    (coming(), "async for"),
    (io.StringIO("good\nbad\n"), "what is in the file"),
    (5, ""),
    (None, ""),
]


@pytest.mark.parametrize(("given", "fix"), ONE_ALONE, ids=lambda value: type(value).__name__)
def test_what_is_no_list_of_inputs_is_a_type_error_that_names_the_fix(
    client: Client, recorder: Recorder, given: Any, fix: str
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: client.predict("acme/mood", given),
        lambda: client.embed("acme", given),
    ]
    for call in calls:
        with pytest.raises(TypeError) as caught:
            call()
        assert isinstance(caught.value, trunkline.InvalidArgument)
        assert str(caught.value).startswith("inputs must be a list of inputs, is ")
        assert fix in str(caught.value)
    assert not recorder.asked("Predict")
    assert not recorder.asked("Embed")


def test_async_client_refuses_the_same(server: Any) -> None:
    async def ask(given: Any) -> None:
        async with AsyncClient(server.address) as client:
            await client.predict("acme/mood", given)

    for given in ("one string", DataFrame(), PIXELS, coming()):
        with pytest.raises(TypeError, match="inputs must be a list of inputs"):
            asyncio.run(ask(given))


@pytest.mark.parametrize(
    "given",
    [
        ["good", "bad"],
        ("good", "bad"),
        iter(["good", "bad"]),
        {"a": "good", "b": "bad"}.values(),
        np.array(["good", "bad"]),
        np.array(["good", "bad"], dtype=object),
        np.array(["good", "bad"], dtype=np.dtypes.StringDType()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_several_inputs_may_be_of_any_ordered_kind(client: Client, given: Any) -> None:
    trained(client)
    rows = client.predict("acme/mood", given)
    assert [row.label for row in rows if isinstance(row, Prediction)] == ["yes", "no"]


def test_array_of_several_pictures_is_several_pixels(client: Client, recorder: Recorder) -> None:
    trained(client)
    client.predict("acme/mood", np.stack([PIXELS, PIXELS + 1]))
    (request,) = recorder.asked("Predict")
    assert [row.pixels.shape for row in request.inputs] == [[2, 3, 3], [2, 3, 3]]
    assert request.inputs[1].pixels.data == (PIXELS + 1).tobytes()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (PIXELS, Pixels(PIXELS)),
        (PIXELS[:, ::-1], Pixels(np.ascontiguousarray(PIXELS[:, ::-1]))),
        (PICTURE, Pixels(PIXELS)),
        (bytearray(b"a"), Image(b"a")),
        (memoryview(b"a"), Image(b"a")),
        (np.str_("a"), Text("a")),
        (Path("a.png"), Image(path=Path("a.png"))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_single_input_is_taken_by_its_type(given: Any, expected: object) -> None:
    assert as_input(given) == expected


def test_picture_is_sent_as_its_orientation_has_it(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    PICTURE.save(tmp_path / "a.png", exif=exif)
    with Pillow.open(tmp_path / "a.png") as opened:
        assert as_input(opened) == Pixels(np.rot90(PIXELS, -1))


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK", "YCbCr", "HSV", "PA", "RGBa", "La"]
)
def test_picture_of_another_mode_loses_nothing(mode: str) -> None:
    source = PICTURE if mode != "I;16" else Pillow.fromarray(np.array([[1, 700]], np.uint16))
    steps = {"I;16": [], "PA": ["P", "PA"], "RGBa": ["RGBA", "RGBa"], "La": ["LA", "La"]}
    for step in steps.get(mode, [mode]):
        source = source.convert(step)
    item = as_input(source)
    plain = source.convert("LA") if mode == "La" else source
    wanted = np.asarray(plain if mode == "I;16" else plain.convert("RGBA"))
    if isinstance(item, Pixels):
        assert item == Pixels(np.asarray(source.convert("RGB")))
        return
    assert isinstance(item, Image)
    assert item.data
    with Pillow.open(io.BytesIO(item.data)) as read:
        np.testing.assert_array_equal(
            np.asarray(read if mode == "I;16" else read.convert("RGBA")), wanted
        )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "NoneType (a missing value?)"),
        (float("nan"), "float (a missing value?)"),
        (5, "int"),
        (["a"], "list"),
        (PIXELS[0], "an array of uint8 [3, 3]; pixels are uint8 of shape [height, width, 3]"),
        (PIXELS / 255, "an array of float64 [2, 3, 3]; pixels are uint8"),
        (np.zeros(8), "an array of float64 [8]; an embedding needs its fingerprint"),
        (Pillow.new("F", (2, 2)), "a picture of mode F"),
    ],
)
def test_single_input_of_another_type_costs_its_row_alone(
    client: Client, given: Any, words: str
) -> None:
    trained(client)
    failed, good = client.predict("acme/mood", [given, "good"])
    assert isinstance(failed, RowFailure)
    assert words in failed.message
    assert not isinstance(good, RowFailure)


PAIRS: list[tuple[Any, str]] = [
    (["ab"], "row 0 must be a pair (input, label), is a str"),
    (["good", "bad"], "row 0 must be a pair (input, label), is a str"),
    ([("good", "yes"), ("bad",)], "row 1 must be a pair (input, label), is a tuple of 1"),
    ([("good", "yes", 2.0)], "row 0 must be a pair (input, label), is a tuple of 3"),
    (("good", "yes"), "row 0 must be a pair (input, label), is a str"),
    ("good", "in [brackets]"),
    (DataFrame(), 'zip(table["text"], table["label"])'),
    ({"good": "yes"}, ".items()"),
    (NewExample("good", "yes"), ""),
    ([("good", 5)], "label must be a str, is an int (row 0); give str(label)"),
    ([("good", "yes"), ("bad", True)], "label must be a str, is a bool (row 1)"),
    ([("good", b"yes")], "label must be a str, is a bytes (row 0)"),
    ([("good", float("nan"))], "label must be a str, is a float (row 0)"),
    ([("good", np.int64(3))], "label must be a str, is an int64 (row 0)"),
]


@pytest.mark.parametrize(("items", "words"), PAIRS, ids=range(len(PAIRS)))
def test_what_is_no_labelled_input_is_a_type_error_that_names_its_row(
    client: Client, recorder: Recorder, items: Any, words: str
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: client.upload("acme/mood", items),
        lambda: client.add_examples("acme/mood", items),
        lambda: client.feedback("acme/mood", items),
        lambda: client.advise("acme", items),
    ]
    for call in calls:
        with pytest.raises(TypeError) as caught:
            call()
        assert words in str(caught.value)
    for rpc in ("AddExamples", "SendFeedback", "Advise"):
        assert not recorder.asked(rpc)


def test_feedback_and_advice_need_every_label(client: Client) -> None:
    unlabelled: Any = [("good", None)]
    with pytest.raises(TypeError, match="label must be a str, is None"):
        client.feedback("acme/mood", unlabelled)
    with pytest.raises(TypeError, match="label must be a str, is None"):
        client.advise("acme", unlabelled)


LISTS: list[Callable[[Client], Any]] = [
    lambda c: c.find_missing("a/b", "0" * 64),
    lambda c: c.delete_examples("a/b", "0" * 64),
    lambda c: c.forget_examples("a/b", "0" * 64),
    lambda c: c.delete_examples("a/b", DataFrame()),
    lambda c: c.release_feedback("a/b", "id"),
    lambda c: c.import_head("a/b", b"", "minilm/l6-v2", labels="ab"),
    lambda c: c.import_head("a/b", Path("head.safetensors"), "minilm/l6-v2"),  # type: ignore[arg-type]
    lambda c: c.import_head("a/b", "head.safetensors", "minilm/l6-v2"),  # type: ignore[arg-type]
    lambda c: estimator_of("head.safetensors"),  # type: ignore[arg-type]
    lambda c: c.advise("a", [("x", "y")], "minilm/l6-v2"),
    lambda c: c.update_examples("a/b", [("0" * 64, "y")]),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("call", LISTS, ids=range(len(LISTS)))
def test_one_string_where_something_else_is_wanted_is_a_type_error(
    client: Client, recorder: Recorder, call: Callable[[Client], Any]
) -> None:
    with pytest.raises(TypeError, match=r"must be (a|bytes)"):
        call(client)
    assert recorder.metadata == []


@pytest.mark.parametrize("name", [None, 3, b"acme/mood", ["acme/mood"], Path("acme/mood")])
def test_name_that_is_no_text_is_a_type_error(
    client: Client, recorder: Recorder, name: Any
) -> None:
    for call in (
        lambda: client.predict(name, ["x"]),
        lambda: client.get_head(name),
        lambda: client.embed(name, ["x"]),
        lambda: next(client.list_heads(name)),
        lambda: client.report(name, 1),
    ):
        with pytest.raises(trunkline.InvalidType, match="must be a str, is ") as caught:
            call()
        assert caught.value.field in ("head", "tenant")
    assert recorder.requests == []


@pytest.mark.parametrize(
    ("timeout", "kind"),
    [
        ("30", trunkline.InvalidType),
        (True, trunkline.InvalidType),
        ([30], trunkline.InvalidType),
        (float("inf"), trunkline.InvalidArgument),
        (float("nan"), trunkline.InvalidArgument),
        (0, trunkline.InvalidArgument),
        (-1, trunkline.InvalidArgument),
        (1e300, trunkline.InvalidArgument),
    ],
)
def test_timeout_that_is_no_time_is_refused(client: Client, timeout: Any, kind: Any) -> None:
    for call in (
        lambda: client.predict("acme/mood", ["x"], timeout=timeout),
        lambda: Client(client.address, timeout=timeout),
        lambda: AsyncClient(client.address, timeout=timeout),
    ):
        with pytest.raises(kind, match="a timeout must be above 0") as caught:
            call()
        assert (caught.value.field, type(caught.value)) == ("timeout", kind)


@pytest.mark.parametrize("token", ["half \ud83d", "two\nlines", "\N{KEY}", b"bytes"])
def test_token_that_no_header_carries_is_refused_and_not_shown(token: Any) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(trunkline.InvalidArgument, match="token must be printable") as caught:
            kind("127.0.0.1:1", token=token)
        assert (caught.value.field, caught.value.value) == ("token", "")


def test_closed_picture_costs_its_row_alone(client: Client, tmp_path: Path) -> None:
    trained(client)
    PICTURE.save(tmp_path / "a.png")
    closed = Pillow.open(tmp_path / "a.png")
    closed.close()
    failed, good = client.predict("acme/mood", [closed, "good"])
    assert isinstance(failed, RowFailure)
    assert "closed" in failed.message
    assert isinstance(good, Prediction)


def test_half_an_emoji_is_told_in_words_of_the_client(client: Client) -> None:
    trained(client)
    (failed,) = client.predict("acme/mood", ["ab\ud83d"])
    assert isinstance(failed, RowFailure)
    assert failed.message.startswith("text must be Unicode text, character 3 is not")
    assert "codec" not in failed.message
