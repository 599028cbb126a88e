import os
import socket
import unicodedata
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trunkline.datasets.trees import read_tree, tree
from trunkline import DatasetError, Image
from trunkline.datasets import Notes, read_examples, read_inputs


def test_a_folder_gives_one_class_per_sub_folder(tmp_path: Path) -> None:
    rows, notices = read_tree(tree(tmp_path, "b/2.JPG", "b/deep/1.png", "a/1.webp"))
    assert rows == [("a/1.webp", "a"), ("b/2.JPG", "b"), ("b/deep/1.png", "b")]
    assert notices == {}


@given(
    st.sets(
        st.tuples(
            st.sampled_from(["", "a/", "b/", "a/deep/", "b/deep/er/"]),
            st.sampled_from(["1", "2", ".1", "._1", "Thumbs", "x y", "é"]),
            st.sampled_from(["", ".png", ".JPG", ".jfif", ".heic", ".db", ".txt.gz", "."]),
        ).map("".join)
    )
)
@settings(max_examples=60, deadline=None)
def test_every_file_is_read_or_named_in_a_notice(files: set[str]) -> None:
    with TemporaryDirectory() as root:
        tree(Path(root), "a/good.png", "b/good.png", *files)
        notes = Notes()
        items = [row.input for row in read_examples(Path(root), notes=notes)]
        read = {str(item.path) for item in items if isinstance(item, Image)}
        told = {name for notice in notes.notices() for name in notice.names}
        assert not read & told
        assert read | told == {str(path) for path in Path(root).rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "suffix", ["jfif", "jpe", "JPEG", "jif", "mpo", "apng", "dib", "tif", "TIFF", "gif", "bmp"]
)
def test_every_suffix_of_a_format_that_is_read_is_read(tmp_path: Path, suffix: str) -> None:
    rows, _ = read_tree(tree(tmp_path, f"a/1.{suffix}", "b/1.png"))
    assert len(rows) == 2


def test_files_of_other_formats_are_counted_by_suffix(tmp_path: Path) -> None:
    others = ["a/1.heic", "a/2.HEIC", "b/deep/3.avif", "a/readme", "a/1.ppm"]
    notes = Notes()
    rows = list(read_examples(tree(tmp_path, "a/1.png", "b/1.png", *others), notes=notes))
    assert len(rows) == 2
    found = {notice.words: notice.names for notice in notes.notices()}
    assert {notice.reason for notice in notes.notices()} == {"left_out_suffix"}
    assert found["2 .heic files left out, as this format is not read"] == (
        str(tmp_path / "a/1.heic"),
        str(tmp_path / "a/2.HEIC"),
    )
    assert set(found) == {
        "2 .heic files left out, as this format is not read",
        "1 .avif file left out, as this format is not read",
        "1 .ppm file left out, as this format is not read",
        "1 file left out, as no suffix says what they are",
    }


def test_hidden_files_litter_and_files_beside_the_classes_are_told_apart(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        *("a/1.png", "b/1.png", "1.png", "notes.md"),
        *("a/.1.png", ".cache/1.png", "a/deep/.trash/b/2.png"),
        *("a/.DS_Store", "Thumbs.db", "__MACOSX/a/1.png", "b/@eaDir/1.png", "b/._1.png"),
    )
    rows, notices = read_tree(root)
    assert rows == [("a/1.png", "a"), ("b/1.png", "b")]
    assert {reason: notice.count for reason, notice in notices.items()} == {
        "left_out_place": 2,
        "left_out_hidden": 3,
        "left_out_litter": 5,
    }
    assert str(root / "1.png") in notices["left_out_place"].names


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", "a/1.png", "b/1.png")
    elsewhere = tree(tmp_path / "elsewhere", "2.png", "deep/3.png")
    (root / "a" / "more").symlink_to(elsewhere)
    (root / "a" / "again").symlink_to(elsewhere)
    (root / "a" / "up").symlink_to(root)
    (root / "b" / "self").symlink_to(root / "b")
    (root / "c").symlink_to(elsewhere)
    (root / "circle").symlink_to(root)
    (root / "b" / "file.png").symlink_to(elsewhere / "2.png")
    (root / "b" / "dead.png").symlink_to(tmp_path / "none")
    (root / "b" / "round.png").symlink_to(root / "b" / "round.png")
    rows, notices = read_tree(root)
    expected = ["a/1.png", "a/again/2.png", "a/again/deep/3.png", "b/1.png", "b/file.png"]
    assert [path for path, _ in rows] == [*expected, "c/2.png", "c/deep/3.png"]
    links = notices["left_out_link"].names
    assert set(links) == {str(root / row) for row in ("a/more", "a/up", "b/self", "circle")}
    dead = notices["left_out_dead_link"].names
    assert dead == (str(root / "b/dead.png"), str(root / "b/round.png"))


def test_what_is_neither_file_nor_folder_is_told(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.png", "b/1.png")
    os.mkfifo(root / "a" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(root / "b" / "s.png"))
        rows, notices = read_tree(root)
    assert len(rows) == 2
    assert notices["left_out_special"].count == 2


def test_a_class_without_any_file_is_left_out_and_told(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.png", "b/1.png", "c/.DS_Store")
    (root / "d" / "deep").mkdir(parents=True)
    rows, notices = read_tree(root)
    assert len(rows) == 2
    assert notices["left_out_empty_class"].names == (str(root / "c"), str(root / "d"))


def test_a_class_of_which_no_file_is_read_is_an_error_that_counts_them(tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.png", "b/1.heic", "b/2.heic")
    with pytest.raises(DatasetError, match=r"b: no images in this class.*2 \.heic files"):
        list(read_examples(root))


def test_one_label_in_two_forms_of_unicode_is_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    root = tree(tmp_path, f"{composed}/1.png", f"{decomposed}/2.png", "tea/1.png")
    rows, notices = read_tree(root)
    assert {label for _, label in rows} == {composed, "tea"}
    assert notices["label_normalised"].names == (composed,)
    assert notices["classes_joined"].count == 1


def test_white_space_around_a_class_name_is_taken_away_and_told(tmp_path: Path) -> None:
    rows, notices = read_tree(tree(tmp_path, "dog/1.png", "dog /2.png", "cat/1.png"))
    assert {label for _, label in rows} == {"dog", "cat"}
    assert set(notices) == {"label_trimmed", "classes_joined"}


@pytest.mark.parametrize("name", [b"caf\xe9", b"a\x07b"])
def test_a_folder_whose_name_is_no_label_is_named(tmp_path: Path, name: bytes) -> None:
    tree(tmp_path, "a/1.png")
    os.mkdir(os.fsencode(tmp_path) + b"/" + name)
    with pytest.raises(DatasetError, match="class"):
        list(read_examples(tmp_path))


def test_a_folder_without_classes_or_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no sub-folders"):
        list(read_examples(tmp_path))
    tree(tmp_path, "1.png", "2.png")
    with pytest.raises(DatasetError, match="2 images beside one another and no sub-folders"):
        list(read_examples(tmp_path))
    none = tree(tmp_path / "none", "1.heic", "2.heic")
    with pytest.raises(DatasetError, match=r"no images.*2 \.heic files"):
        list(read_inputs(none))


def test_inputs_are_read_at_any_depth_whatever_the_folders_mean(tmp_path: Path) -> None:
    root = tree(tmp_path, "b.png", "train/a.png", "val/deep/c.png", "d.heic", ".hidden/e.png")
    notes = Notes()
    found = list(read_inputs(root, notes=notes))
    names = ("b.png", "train/a.png", "val/deep/c.png")
    assert found == [Image.open(root / name) for name in names]
    assert [notice.reason for notice in notes.notices()] == ["left_out_hidden", "left_out_suffix"]
