"""The command line against a real server: what it prints, and how it exits."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

from tests.e2e.conftest import Cli
from tests.e2e.processes import Running, run
from tests.e2e.samples import Labelled, textile_photos
from tests.terminal import Terminal, in_terminal


@pytest.fixture
def folder(tmp_path: Path, photos: Labelled) -> Path:
    """One sub-folder of images per class."""
    for i, (data, label) in enumerate(photos):
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / label / f"{i}.png").write_bytes(data)
    return tmp_path / "photos"


def document(ended: subprocess.CompletedProcess[str], status: int = 0) -> Any:
    assert ended.returncode == status, ended.stderr
    return json.loads(ended.stdout)


def test_folder_of_images_from_training_to_rollback(
    cli: Cli, tenant: str, folder: Path, tmp_path: Path
) -> None:
    head = f"{tenant}/textile"
    trained = document(cli("train", head, folder, "--test", folder, "--json"))
    assert trained["version"] == 1
    assert trained["upload"]["added"] == 24
    assert trained["test"] == {"rows": 24, "left_out": 24, "failed": 0, "accuracy": None}
    (told,) = [row for row in trained["notices"] if row["reason"] == "test_trained_on"]
    assert len(told["names"]) == 24
    again = document(cli("train", head, folder, "--family", "ridge", "--json"))
    assert (again["version"], again["upload"]["sent_bytes"]) == (2, 0)

    pictures = sorted(folder.rglob("*.png"))
    predicted = cli("predict", head, *pictures[:3], "--top", "2", "--json")
    rows = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert predicted.returncode == 0
    assert [row["path"] for row in rows] == [str(path) for path in pictures[:3]]
    assert {len(row["scores"]) for row in rows} == {2}
    assert {row["version"] for row in rows} == {2}

    receipt = document(cli("feedback", head, pictures[0], "nominal", "--json"))["receipt"]
    assert receipt["duplicate"] is False
    assert document(cli("heads", "show", head, "--json"))["feedback_count"] == 1
    assert document(cli("report", head, "--json"))["family"] == "ridge"
    shown = document(cli("heads", "activate", head, "1", "--json"))
    assert shown["active_version"] == 1
    listed = document(cli("heads", "versions", head, "--json"))["versions"]
    assert [(row["version"], row["active"]) for row in listed] == [(2, False), (1, True)]

    file = tmp_path / "head.safetensors"
    document(cli("heads", "export", head, file, "--json"))
    copy = f"{tenant}/copy"
    backbone = ["--backbone", "efficientnet/lite0", "--json"]
    assert document(cli("heads", "import", copy, file, *backbone))["source"] == "import"
    first = document(cli("predict", head, pictures[5], "--json"))
    same = document(cli("predict", copy, pictures[5], "--json"))
    assert same["scores"] == pytest.approx(first["scores"], abs=1e-6)
    names = document(cli("heads", "list", tenant, "--json"))["heads"]
    assert len(names) == 2
    document(cli("heads", "delete", copy, "--yes", "--json"))
    assert cli("heads", "show", copy).returncode == 1


def test_accuracy_is_of_test_examples_that_nothing_like_was_trained_on(
    cli: Cli, tenant: str, folder: Path, tmp_path: Path
) -> None:
    test = tmp_path / "test"
    for i, (data, label) in enumerate(textile_photos(12)[24:]):
        (test / label).mkdir(parents=True, exist_ok=True)
        (test / label / f"new-{i}.png").write_bytes(data)
    known = sorted(folder.rglob("*.png"))[:2]
    shutil.copy(known[0], test / known[0].parent.name / "known.png")
    with Image.open(known[1]) as picture:
        picture.convert("RGB").save(test / known[1].parent.name / "again.jpg", quality=90)
    shown = cli("train", f"{tenant}/textile", folder, "--test", test)
    assert "1 of 14 test examples are trained on: " in shown.stderr
    assert "1 test example nearly the same as an example that is trained on" in shown.stderr
    (line,) = [line for line in shown.stdout.splitlines() if "accuracy on the test set" in line]
    assert line.rstrip().endswith("%, 2 of 14 left out")
    assert "always answering" in shown.stdout
    report = document(cli("report", f"{tenant}/textile", "--json"))
    assert report["seen_held_out_count"] == 1
    assert sum(row["examples"] for row in report["test"]["classes"]) == 12


def test_table_of_texts(
    cli: Cli, tenant: str, tmp_path: Path, sentences: list[tuple[str, str]]
) -> None:
    table = tmp_path / "texts.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("text", "label"), *sentences])
    head = f"{tenant}/mood"
    assert document(cli("train", head, table, "--json"))["report"]["example_count"] == 24
    row = document(cli("predict", head, "--text", "what a day", "--json"))
    assert row["label"] in ("negative", "positive")
    assert row["text"] == "what a day"
    words = cli("feedback", head, "--text", "what a day", "positive")
    assert (words.returncode, words.stdout[:9]) == (0, "stored as")


def test_many_inputs_are_answered_from_standard_input_and_into_a_file(
    cli: Cli, server: Running, tmp_path: Path, text_head: str, image_head: str, photos: Labelled
) -> None:
    folder, answers = tmp_path / "texts", tmp_path / "answers.csv"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"what a day, number {number}\n")
    ended = cli("predict", "shared/sentiment", folder, "--output", answers, "--top", "2")
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    whole = answers.read_bytes()
    answers.write_bytes(whole[: len(whole) // 2])
    command = ["predict", "shared/sentiment", folder, "--output", answers, "--top", "2"]
    assert cli(*command, "--resume").returncode == 0
    assert answers.read_bytes() == whole
    (tmp_path / "photo.png").write_bytes(photos[0][0])
    ended = subprocess.run(
        [sys.executable, "-m", "trunkline", "predict", "shared/textile", "-", "--json"],
        input=f"{tmp_path / 'photo.png'}\nno.png\n",
        capture_output=True,
        text=True,
        env={**os.environ, "TRUNKLINE_SERVER": server.grpc},
        check=False,
    )
    first, second = map(json.loads, ended.stdout.splitlines())
    assert (first["path"], first["label"]) == (str(tmp_path / "photo.png"), photos[0][1])
    assert (second["error"]["code"], ended.returncode) == ("NOT_FOUND", 1)


def test_failed_row_is_printed_and_exits_one(
    cli: Cli, tmp_path: Path, image_head: str, photos: Labelled
) -> None:
    good, fake = tmp_path / "good.png", tmp_path / "fake.png"
    good.write_bytes(photos[0][0])
    fake.write_bytes(b"<svg/>")
    ended = cli("predict", "shared/textile", good, fake, good, "--json")
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 1
    assert ["error" in row for row in rows] == [False, True, False]
    assert rows[1]["error"]["code"] == "INVALID_ARGUMENT"


def test_backbones_are_listed(cli: Cli) -> None:
    names = {row["name"] for row in document(cli("backbones", "--json"))["backbones"]}
    assert names == {"efficientnet/lite0", "minilm/l6-v2"}


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["heads", "show", "nobody/nothing"], 1),
        (["predict", "nobody/nothing", "--text", "x"], 1),
        (["predict", "no-slash", "--text", "x"], 2),
        (["predict", "a/b"], 2),
        (["train", "a/b", "/no/such/folder"], 1),
        (["no-such-command"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_errors_are_one_line_on_standard_error(cli: Cli, arguments: list[str], status: int) -> None:
    ended = cli(*arguments)
    assert ended.returncode == status, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr
    assert "Traceback" not in ended.stderr


def test_errors_are_json_where_json_is_asked_for(cli: Cli) -> None:
    unknown = document(cli("heads", "show", "nobody/nothing", "--json"), 1)["error"]
    assert (unknown["code"], unknown["field"]) == ("NOT_FOUND", "head")
    assert unknown["request_id"]
    misnamed = document(cli("predict", "no-slash", "--text", "x", "--json"), 2)["error"]
    assert (misnamed["code"], misnamed["field"]) == ("INVALID_ARGUMENT", "head")


def test_tables_fit_a_terminal(server: Running, image_head: str) -> None:
    commands = [["backbones"], ["heads", "show", image_head], ["report", image_head]]
    for words in in_terminal(server.grpc, commands, 80):
        lines = words.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
        assert 20 < max(map(len, lines)) <= 80


def test_absent_server_is_a_clear_error() -> None:
    command = [sys.executable, "-m", "trunkline", "--server", "127.0.0.1:1", "--timeout", "0.5"]
    ended = run([*command, "backbones"])
    assert ended.returncode == 1
    assert "error:" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_address_of_rest_is_told_at_once_with_what_to_give(cli: Cli, server: Running) -> None:
    for address, words in (
        (server.rest, "is a web address of REST, and this is gRPC"),
        (server.rest.removeprefix("http://"), "does not speak gRPC"),
    ):
        ended = cli("--server", address, "--timeout", "3600", "backbones")
        assert (ended.returncode, ended.stdout) == (1, "")
        (line,) = ended.stderr.splitlines()
        assert words in line
        assert "127.0.0.1:50051" in line


def test_terminal_is_told_what_comes_next_and_a_pipe_is_not(
    server: Running, cli: Cli, text_head: str
) -> None:
    piped = cli("heads", "list", "shared")
    assert "shared/sentiment" in piped.stdout
    assert "next:" not in piped.stdout + piped.stderr
    with Terminal(server.grpc, "heads", "versions", text_head, columns=80) as terminal:
        status, words = terminal.end()
    assert status == 0
    shown = click.unstyle(words).splitlines()
    assert shown[-1] == "next: trunkline report shared/sentiment"
    assert max(map(len, shown)) <= 80
