"""Data as people have them, from an empty server: what the command line says of each mess."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from PIL import Image

from tests.e2e.conftest import IMAGES, Cli
from tests.e2e.samples import Labelled


def document(ended: subprocess.CompletedProcess[str], status: int = 0) -> Any:
    assert ended.returncode == status, ended.stderr
    return json.loads(ended.stdout)


def reasons(document: Any) -> dict[str, int]:
    return {row["reason"]: row["count"] for row in document["notices"]}


def test_a_messy_folder_is_told_of_and_trained_on(
    cli: Cli, tenant: str, tmp_path: Path, photos: Labelled
) -> None:
    root = tmp_path / "root"
    first, *others = sorted({label for _, label in photos})
    for number, (data, label) in enumerate(photos):
        for split in ("train", "val"):
            (root / split / label).mkdir(parents=True, exist_ok=True)
        # The server goes by what is in a file, whatever its suffix of that kind is.
        (root / "train" / label / f"{number}.{('png', 'jfif')[number % 2]}").write_bytes(data)
        (root / "val" / label / f"{number}.png").write_bytes(data)
    head = f"{tenant}/messy"
    splits = cli("train", head, root)
    assert splits.returncode == 1
    assert f"{root / 'train'} --test {root / 'val'}" in splits.stderr
    assert cli("heads", "show", head).returncode == 1

    classes = root / "train"
    (classes / first / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (classes / first / ".DS_Store").write_bytes(b"x")
    (classes / "readme.txt").write_text("not an image")
    (classes / first / "dead.png").symlink_to(root / "none")
    picture = next(iter(sorted((classes / first).glob("*.png"))))
    shutil.copy(picture, classes / others[0] / "copied.png")
    (classes / f"{others[0]}x").mkdir()
    shutil.copy(next(iter((classes / others[0]).glob("*.jfif"))), classes / f"{others[0]}x")
    trained = document(cli("train", head, classes, "--json"))
    assert reasons(trained) == {
        "left_out_suffix": 1,
        "left_out_litter": 1,
        "left_out_place": 1,
        "left_out_dead_link": 1,
        "row_contradicted": 2,
        "single_example": 1,
    }
    assert trained["upload"]["failed"] == 0

    shutil.rmtree(classes / first)
    told = document(cli("train", head, classes, "--json"))
    gone = reasons(told)["not_in_data"]
    assert gone > 0
    pruned = document(cli("train", head, classes, "--prune", "--yes", "--json"))
    assert reasons(pruned)["pruned"] == gone
    assert first not in {row["label"] for row in pruned["report"]["classes"]}


def test_a_messy_table_is_told_of_and_trained_on(
    cli: Cli, tenant: str, tmp_path: Path, sentences: list[tuple[str, str]]
) -> None:
    rows = [(number, text, label, "", "") for number, (text, label) in enumerate(sentences)]
    bad = [("x", "caf\xe9", "positive", "", ""), ("y", "word " * 200_000, "positive"), ("z", "few")]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=";", lineterminator="\r")
    writer.writerows([("id", "Review", "Mood", "", ""), *rows, [""] * 5, *bad, *rows[:2]])
    table = tmp_path / "texts.csv"
    table.write_bytes(out.getvalue().encode().replace("\xe9".encode(), b"\xe9"))
    head = f"{tenant}/reviews"
    columns = ["--text-column", "review", "--label-column", "mood"]
    trained = document(cli("train", head, table, *columns, "--json"), status=1)
    assert trained["report"]["example_count"] == len(sentences)
    assert reasons(trained) == {"left_out_empty_row": 1, "row_repeated": 2}
    failed = {row["row"]: row for row in trained["upload"]["failures"]}
    count = len(sentences)
    assert sorted(failed) == [count, count + 1, count + 2]
    assert failed[count]["value"] == f"{table}:{count + 3}"
    assert failed[count + 1]["field"] == "text"
    assert failed[count + 2]["value"] == f"{table}:{count + 5}"


def test_copies_and_named_groups_are_told_of_on_the_command_line(
    cli: Cli, tenant: str, tmp_path: Path, photos: Labelled
) -> None:
    rows = [("path", "label", "scene")]
    for i, (data, label) in enumerate(photos):
        with Image.open(io.BytesIO(data)) as picture:
            for quality in (95, 90):
                name = f"{i}-{quality}.jpg"
                picture.convert("RGB").save(tmp_path / name, quality=quality)
                rows.append((name, label, f"scene {i // 4}"))
    table = tmp_path / "photos.csv"
    table.write_text("".join(f"{','.join(row)}\n" for row in rows))
    alone = cli("train", f"{tenant}/copies", table)
    assert alone.returncode == 0, alone.stderr
    told = " ".join(alone.stdout.split())
    count = len(photos)
    copies = f"near-copies: {2 * count} within classes, 0 across"
    assert f"groups {count} of {2 * count} examples; {copies}" in told
    assert f"the interval is that of {count} examples" in told
    column = ["--group-column", "scene", "--json"]
    named = json.loads(cli("train", f"{tenant}/scenes", table, *column).stdout)["report"]
    assert (named["groups"]["count"], named["groups"]["named"]) == (count // 4, count // 4)
    assert named["estimate"]["groups"] == count // 4
    advice = json.loads(cli("advise", table, "--backbone", IMAGES, *column).stdout)
    assert advice["group_count"] == count // 4
