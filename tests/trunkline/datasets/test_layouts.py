import re
from pathlib import Path

import pytest

from tests.trunkline.datasets.trees import read_tree, tree
from trunkline import DatasetError
from trunkline.datasets import read_examples


@pytest.mark.parametrize(
    ("names", "trained", "tested"),
    [
        (["train", "val"], "train", "val"),
        (["train", "valid", "test"], "train", "test"),
        (["Training", "Validation"], "Training", "Validation"),
        (["train2017", "val2017"], "train2017", "val2017"),
        (["training_set", "test_set"], "training_set", "test_set"),
        (["TrainImages", "TestImages"], "TrainImages", "TestImages"),
        (["dev", "hold-out"], "dev", "hold-out"),
        (["train", "dev", "unlabeled"], "train", "dev"),
        (["seg_train", "seg_test", "seg_pred"], "seg_train", "seg_test"),
        (["asl_alphabet_train", "asl_alphabet_test"], "asl_alphabet_train", "asl_alphabet_test"),
        (["Chest-XRay-Train", "Chest-XRay-Val"], "Chest-XRay-Train", "Chest-XRay-Val"),
    ],
)
def test_splits_are_refused_with_the_call_that_is_meant(
    tmp_path: Path, names: list[str], trained: str, tested: str
) -> None:
    tree(tmp_path, *(f"{name}/{label}/1.png" for name in names for label in ("a", "b")))
    call = f"trunkline train TENANT/HEAD {tmp_path / trained} --test {tmp_path / tested}"
    with pytest.raises(DatasetError, match=re.escape(call)):
        list(read_examples(tmp_path))


def test_splits_beside_other_folders_are_refused(tmp_path: Path) -> None:
    tree(tmp_path, "train/a/1.png", "train/b/1.png", "test/1.png", "docs/x.png")
    with pytest.raises(DatasetError, match="test, train look like splits") as caught:
        list(read_examples(tmp_path))
    assert f"TENANT/HEAD {tmp_path / 'train'}" in str(caught.value)
    assert "--test" not in str(caught.value)


@pytest.mark.parametrize("others", [("labeled", "unlabeled"), ("calibration", "train")])
def test_parts_with_and_without_labels_are_splits(tmp_path: Path, others: tuple[str, str]) -> None:
    tree(tmp_path, *(f"{name}/{label}/1.png" for name in others for label in ("a", "b")))
    with pytest.raises(DatasetError, match="look like splits"):
        list(read_examples(tmp_path))


@pytest.mark.parametrize(
    "names", [("bullet_train", "crash_test"), ("train", "bus", "car"), ("train_car", "train_yard")]
)
def test_classes_that_only_sound_like_splits_are_classes(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    tree(tmp_path, *(f"{name}/{part}/1.png" for name in names for part in ("red", "blue")))
    assert {row.label for row in read_examples(tmp_path)} == set(names)


def test_splits_with_one_class_are_splits(tmp_path: Path) -> None:
    tree(tmp_path, "train/a/1.png", "val/a/1.png")
    with pytest.raises(DatasetError, match=re.escape(f"--test {tmp_path / 'val'}")):
        list(read_examples(tmp_path))


def test_splits_without_classes_are_refused(tmp_path: Path) -> None:
    tree(tmp_path, "train/1.png", "test/1.png")
    with pytest.raises(DatasetError, match="hold no class folders"):
        list(read_examples(tmp_path))


@pytest.mark.parametrize("depth", ["dataset", "dataset/images", "a/b/c"])
def test_classes_that_lie_deeper_are_named(tmp_path: Path, depth: str) -> None:
    tree(tmp_path, f"{depth}/cat/1.png", f"{depth}/dog/1.png")
    with pytest.raises(DatasetError, match=re.escape(f"TENANT/HEAD {tmp_path / depth}")):
        list(read_examples(tmp_path))


def test_splits_that_lie_deeper_are_splits(tmp_path: Path) -> None:
    tree(tmp_path, *(f"data/{split}/{c}/1.png" for split in ("train", "val") for c in "ab"))
    call = f"{tmp_path / 'data/train'} --test {tmp_path / 'data/val'}"
    with pytest.raises(DatasetError, match=re.escape(call)):
        list(read_examples(tmp_path))


@pytest.mark.parametrize("parts", [("2019", "2020"), ("fold1", "fold2"), ("batch_a", "batch_b")])
def test_classes_inside_parts_of_the_data_are_refused(
    tmp_path: Path, parts: tuple[str, str]
) -> None:
    tree(tmp_path, *(f"{part}/{label}/1.png" for part in parts for label in ("cat", "dog")))
    with pytest.raises(DatasetError, match="parts of the data"):
        list(read_examples(tmp_path))


def test_a_table_beside_images_is_named(tmp_path: Path) -> None:
    tree(tmp_path, "images/1.png", "labels.csv")
    with pytest.raises(DatasetError, match=re.escape(f"TENANT/HEAD {tmp_path / 'labels.csv'}")):
        list(read_examples(tmp_path))


def test_tables_of_splits_are_named_with_their_parts(tmp_path: Path) -> None:
    root = tree(tmp_path / "my data", "test.csv", "train.csv", "readme.txt")
    call = f"train TENANT/HEAD '{root / 'train.csv'}' --test '{root / 'test.csv'}'"
    with pytest.raises(DatasetError, match=re.escape(call)):
        list(read_examples(root))


def test_folders_of_texts_are_referred_to_tables(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"2 \.txt files.*texts are read from a table"):
        list(read_examples(tree(tmp_path, "neg/1.txt", "neg/2.txt", "pos/1.txt")))


@pytest.mark.parametrize(
    "files",
    [
        ["train/1.png", "bus/1.png"],
        ["valid/1.png", "invalid/1.png"],
        ["test tube/1.png", "train station/1.png"],
        ["cat/1.png"],
        ["cat/2019/1.png", "cat/2020/1.png"],
        ["cat/1.png", "dogs/poodle/1.png", "dogs/beagle/2.png"],
        ["cat/black/1.png", "cat/white/1.png", "dog/poodle/1.png", "dog/beagle/1.png"],
        ["0/1.png", "1/1.png", "2019/1.png"],
        ["2019/1.png", "2020/1.png"],
        ["cat/a/b/c/1.png", "dog/1.png"],
        ["original/1.png", "fake/1.png"],
        ["mask/1.png", "no_mask/1.png"],
    ],
)
def test_classes_are_read_whatever_their_names_and_depths(tmp_path: Path, files: list[str]) -> None:
    rows, notices = read_tree(tree(tmp_path, *files))
    assert sorted(path for path, _ in rows) == sorted(files)
    assert all(path.split("/")[0] == label for path, label in rows)
    assert notices == {}


@pytest.mark.parametrize(
    ("inner", "words"), [(("2019", "2020"), "the same folders"), (("train", "val"), "splits")]
)
def test_folders_that_might_be_the_classes_are_told(
    tmp_path: Path, inner: tuple[str, str], words: str
) -> None:
    files = [f"{label}/{name}/1.png" for label in ("cat", "dog") for name in inner]
    rows, notices = read_tree(tree(tmp_path, *files))
    assert {label for _, label in rows} == {"cat", "dog"}
    assert words in notices["layout"].words


@pytest.mark.parametrize("names", [("images", "masks"), ("JPEGImages", "Annotations")])
def test_kinds_of_files_are_no_classes(tmp_path: Path, names: tuple[str, str]) -> None:
    tree(tmp_path, *(f"{name}/1.png" for name in names))
    with pytest.raises(DatasetError, match="kinds of files"):
        list(read_examples(tmp_path))


def test_classes_named_like_parts_of_the_data_are_told(tmp_path: Path) -> None:
    rows, notices = read_tree(tree(tmp_path, "fold1/1.png", "fold2/1.png"))
    assert len(rows) == 2
    assert "fold1, fold2" in notices["layout"].words
