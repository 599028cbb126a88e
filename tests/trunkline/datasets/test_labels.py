import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline import DatasetError
from trunkline.datasets import Notes
from trunkline.datasets.labels import doubtful_labels, nearest_label, read_label
from trunkline.labels import normalised


def doubts(**counts: int) -> dict[str, tuple[str, ...]]:
    return {notice.reason: notice.names for notice in doubtful_labels(counts)}


@given(st.text())
def test_a_label_is_composed_trimmed_and_told_or_refused(raw: str) -> None:
    notes = Notes()
    try:
        label = read_label(raw, notes)
    except DatasetError:
        return
    assert label == normalised(label).strip()
    assert bool(notes.notices()) == (label != raw)


@pytest.mark.parametrize(
    "raw", ["", "  ", "a\nb", "a\0", "a\u200b", "\ud83d", "x" * 4097, "é" * 2049]
)
def test_a_label_that_no_server_takes_is_refused(raw: str) -> None:
    with pytest.raises(DatasetError, match="label"):
        read_label(raw, Notes())


@pytest.mark.parametrize(
    "raw",
    [
        "👨\u200d👩\u200d👧",
        "क्\u200dष",
        "🏴\U000e0067\U000e0062\U000e007f",
        "new\xa0york",
        "❤\ufe0f",
    ],
)
def test_a_label_keeps_the_joiners_and_tags_that_its_writing_needs(raw: str) -> None:
    notes = Notes()
    assert read_label(raw, notes) == raw
    assert notes.notices() == ()


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ("yes\u200b", r"U\+200B, ZERO WIDTH SPACE"),
        ("\u200fyes", r"U\+200F, RIGHT-TO-LEFT MARK"),
        ("yes\u200d", r"U\+200D, ZERO WIDTH JOINER"),
        ("\ufeffyes", r"U\+FEFF, ZERO WIDTH NO-BREAK SPACE"),
        ("yes\uffff", r"U\+FFFF, without a name"),
    ],
)
def test_a_character_that_is_not_seen_is_named(raw: str, named: str) -> None:
    with pytest.raises(DatasetError, match=named):
        read_label(raw, Notes())


def test_a_class_with_one_example_is_named_with_the_class_that_may_be_meant() -> None:
    assert doubts(seven=40, sevn=1, eight=40) == {"single_example": ("sevn (perhaps seven)",)}
    assert doubts(seven=40, nine=1) == {"single_example": ("nine",)}


@pytest.mark.parametrize("label", ["NaN", "<NA>", "#REF!", "#DIV/0!", "N/A"])
def test_a_class_named_as_if_its_label_were_missing_is_told(label: str) -> None:
    assert doubts(**{label: 4, "cat": 4}) == {"missing_label": (label,)}


@pytest.mark.parametrize("slip", ["sevne", "seveen", "sefen", "even", "Seven"])
def test_every_single_slip_finds_the_class_that_is_meant(slip: str) -> None:
    assert doubts(**{"seven": 40, slip: 1})["single_example"] == (f"{slip} (perhaps seven)",)


def test_a_rare_class_named_almost_like_a_large_one_is_told() -> None:
    assert doubts(seven=40, sevn=3) == {"rare_label": ("sevn (perhaps seven)",)}
    assert doubts(seven=40, sevn=30) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Dog", "dog"),
        ("hot dog", "hot_dog"),
        ("hot-dog", "hotdog"),
        ("café", "cafe"),
        ("ﬁn", "fin"),
        ("❤\ufe0f", "❤"),
        ("क्\u200dष", "क्ष"),
        ("new\xa0york", "new york"),
    ],
)
def test_names_that_look_alike_are_told(one: str, other: str) -> None:
    (pair,) = doubts(**{one: 9, other: 9})["similar_labels"]
    assert set(pair.split(" / ")) == {one, other}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "2"),
        ("1", "10"),
        ("-1", "1"),
        ("C", "C++"),
        ("class1", "class2"),
        ("cat", "bat"),
        ("a", "b"),
        ("かき", "かぎ"),
        ("ปา", "ป่า"),
    ],
)
def test_names_that_differ_on_purpose_are_left_alone(one: str, other: str) -> None:
    assert doubts(**{one: 99, other: 2}) == {}


def test_names_that_stand_for_no_label_are_told() -> None:
    assert doubts(NaN=9, good=9, null=9) == {"missing_label": ("NaN", "null")}


def test_long_labels_are_left_alone() -> None:
    texts = {f"{'long ' * 800}{number}": 2 for number in range(200)}
    assert list(doubtful_labels(texts)) == []


@pytest.mark.parametrize(
    ("label", "nearest"),
    [("cta", "cat"), ("CAT", "cat"), ("hotdog", "Hot dog"), ("bird", None), ("_", None)],
)
def test_the_nearest_of_other_labels_is_found_if_one_is_like_it(
    label: str, nearest: str | None
) -> None:
    assert nearest_label(label, ["cat", "Hot dog", "horse"]) == nearest
