"""`trunkline predict` of many inputs: where they come from, how rows are written."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.terminal import Terminal
from tests.trunkline.datasets.trees import tree
from tests.trunkline.recorded_state import refuse
from tests.trunkline.recording import Recorder, Server
from tests.trunkline.steps import Run, trained
from trunkline import Client, Text
from trunkline.cli.predictions import standard_input
from trunkline.cli.predictions.requests import UNDER_WAY, predicted
from trunkline.datasets import FileInput
from trunkline.digest import text_digest
from trunkline.rows.chunking import MAX_MESSAGE_ROWS


@pytest.fixture
def mood(client: Client) -> str:
    """A head for texts."""
    trained(client)
    return "acme/mood"


@pytest.fixture
def shapes(client: Client) -> str:
    """A head for images."""
    client.create_head("acme/shapes", "efficientnet/lite0")
    client.add_examples("acme/shapes", [(b"a", "yes"), (b"b", "no")])
    client.train("acme/shapes")
    return "acme/shapes"


def test_top_shows_label_and_probability_of_each_class(run: Run, mood: str) -> None:
    shown = run("predict", mood, "--text", "bad", "--text", "good", "--top", 5)
    assert shown.stdout == "bad\tno\t0.7500\tyes\t0.2500\ngood\tyes\t0.7500\tno\t0.2500\n"
    assert run("predict", mood, "--text", "bad", "--top", 1).stdout == "bad\tno\t0.7500\n"


def test_csv_has_a_header_and_a_record_for_each_row(
    run: Run, recorder: Recorder, mood: str
) -> None:
    recorder.bad_digests.add(text_digest("broken"))
    texts = ["--text", 'bad, "very"\nbad', "--text", "broken", "--text", "bad"]
    result = run("predict", mood, *texts, "--csv", "--top", 3, "--level", 0.9)
    assert result.exit_code == 1
    assert result.stdout_bytes.count(b"\r\n") == 4
    first, second, third = csv.DictReader(io.StringIO(result.stdout, newline=""))
    assert list(first) == [
        *("name", "label", "probability", "head", "version", "live"),
        *("label_2", "probability_2", "label_3", "probability_3"),
        *("set", "novelty", "novel", "decision", "described", "truncated", "digest", "error"),
    ]
    assert first["name"] == 'bad, "very"\nbad'
    assert (first["label"], first["probability"], first["version"]) == ("no", "0.75", "1")
    assert (first["label_2"], first["probability_2"], first["label_3"]) == ("yes", "0.25", "")
    assert (first["set"], third["set"], first["error"]) == ('["no"]', "[]", "")
    assert second["error"] == "INVALID_ARGUMENT: cannot be decoded (field input)"
    assert {second[name] for name in list(second)[1:-1]} == {"", mood}


def test_lines_of_standard_input_are_what_the_head_takes(
    run: Run, mood: str, shapes: str, tmp_path: Path
) -> None:
    texts = run("predict", mood, "-", "--json", answers=b"\xef\xbb\xbfgood\r\n\nbad")
    rows = [json.loads(line) for line in texts.stdout.splitlines()]
    assert [(row["text"], row["label"]) for row in rows] == [("good", "yes"), ("bad", "no")]
    assert "1 row left out without any filled cell: -:2" in texts.stderr
    root = tree(tmp_path, "a.png")
    paths = run("predict", shapes, "-", "--json", answers=f"{root / 'a.png'}\n{root / 'no.png'}\n")
    rows = [json.loads(line) for line in paths.stdout.splitlines()]
    assert [row["path"] for row in rows] == [str(root / "a.png"), str(root / "no.png")]
    assert rows[0]["label"] == "no"
    assert (rows[1]["error"]["code"], paths.exit_code) == ("NOT_FOUND", 1)


def test_json_lines_of_standard_input_are_known_by_the_first(run: Run, mood: str) -> None:
    lines = '{"id": 7, "text": "good"}\nbad\n{"path": "none.png"}\n'
    result = run("predict", mood, "-", answers=lines)
    first, second, third = result.stdout.splitlines()
    assert first == "good\tyes\t0.7500"
    assert second.startswith("-:2\terror: not JSON")
    assert third.startswith("-:3\terror: `path`: none.png: No such file")
    named = run("predict", mood, "-", "--text-column", "body", answers='{"body": "bad"}\n')
    assert named.stdout == "bad\tno\t0.7500\n"
    other = run("predict", mood, "-", answers='{"id": 7}\n')
    assert other.stdout == '{"id": 7}\tno\t0.7500\n'


def test_stdin_says_what_the_lines_are(run: Run, mood: str, tmp_path: Path) -> None:
    told = run("predict", mood, "-", "--stdin", "texts", answers='{"text": "good"}\n')
    assert told.stdout == '{"text": "good"}\tno\t0.7500\n'
    (tmp_path / "a.txt").write_text("good\n")
    told = run("predict", mood, "-", "--stdin", "paths", answers=f"{tmp_path / 'a.txt'}\n")
    assert told.stdout == f"{tmp_path / 'a.txt'}\tyes\t0.7500\n"
    told = run("predict", mood, "-", "--stdin", "jsonl", answers="good\n")
    assert told.stdout.startswith("-:1\terror: not JSON")


def test_a_line_that_is_no_text_or_path_costs_itself_alone(
    run: Run, mood: str, shapes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standard_input, "MAX_HELD_BYTES", 200_000)
    long = b"x" * 300_000
    result = run("predict", mood, "-", answers=b"good\n\xff\n" + long + b"\nbad\n" + long)
    assert result.exit_code == 1
    rows = result.stdout.splitlines()
    assert (rows[0], rows[3]) == ("good\tyes\t0.7500", "bad\tno\t0.7500")
    assert rows[1].startswith("-:2\terror: not UTF-8: byte 0xff")
    assert rows[2].startswith("-:3\terror: a line may have 200000 bytes")
    assert rows[4].startswith("-:5\terror: a line may have")
    paths = run("predict", shapes, "-", answers=b"a.png\0b.png\0")
    assert paths.stdout.startswith("-:1\terror: a zero byte is in no path")


def test_standard_input_comes_in_its_place_among_paths(
    run: Run, mood: str, table: Path, tmp_path: Path
) -> None:
    last = tmp_path / "last.txt"
    last.write_text("fine")
    words = run("predict", mood, table, "-", last, "--text", "bad", answers="awful\n").stdout
    names = ["good", "fine", "bad", "awful", "awful", str(last), "bad"]
    assert [line.split("\t")[0] for line in words.splitlines()] == names


def test_answers_come_while_standard_input_is_open(server: Server, mood: str) -> None:
    command = [sys.executable, "-m", "trunkline", "predict", mood, "-", "--server", server.address]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) as running:
        assert running.stdin
        assert running.stdout
        for text, label in (("good", "yes"), ("bad", "no")):
            running.stdin.write(f"{text}\n")
            assert running.stdout.readline() == f"{text}\t{label}\t0.7500\n"
        running.stdin.close()
        assert running.wait() == 0


def test_a_text_file_is_one_text_unless_its_first_line_names_the_column(
    run: Run, mood: str, tmp_path: Path
) -> None:
    files = {"table.txt": "text\ngood\nbad\n", "one.txt": "good\n", "two.txt": "so\nso\n"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    paths = [tmp_path / name for name in (*files, "none.txt")]
    result = run("predict", mood, *paths, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row.get("text") for row in rows[:2]] == ["good", "bad"]
    assert [row.get("path") for row in rows[2:4]] == list(map(str, paths[1:3]))
    assert [row["digest"] for row in rows[2:4]] == [text_digest("good"), text_digest("so\nso")]
    assert (rows[4]["row"], result.exit_code) == (str(paths[3]), 1)
    told = "1 file of several lines taken as one text each, as the first line names no `text` or "
    assert f"{told}`path` column: {paths[2]}" in result.stderr
    named = run("predict", mood, paths[2], "--text-column", "body")
    assert "expected a column `body`, found: so" in named.stderr


def test_a_folder_is_read_for_what_the_head_takes(
    run: Run, mood: str, shapes: str, tmp_path: Path
) -> None:
    root = tree(tmp_path / "root", "b/2.txt", "b/1.txt", "a.txt", "a.png")
    texts = run("predict", mood, root)
    names = [str(root / name) for name in ("a.txt", "b/1.txt", "b/2.txt")]
    assert [line.split("\t")[0] for line in texts.stdout.splitlines()] == names
    assert f"1 .png file left out, as this format is not read: {root / 'a.png'}" in texts.stderr
    images = run("predict", shapes, root)
    assert images.stdout.startswith(f"{root / 'a.png'}\t")
    assert "3 .txt files left out" in images.stderr
    none = run("predict", mood, tree(tmp_path / "other", "a.png"))
    assert "no texts in this folder (.txt); 1 .png file left out" in none.stderr


def test_inputs_are_read_a_few_requests_ahead_of_what_is_answered(
    client: Client, recorder: Recorder, mood: str
) -> None:
    read = 0

    def inputs() -> Iterator[FileInput]:
        nonlocal read
        for number in range(12 * MAX_MESSAGE_ROWS):
            read += 1
            yield Text(f"text {number}")

    names = []
    for row, (item, _) in enumerate(predicted(client, mood, inputs(), top_k=1, version=None)):
        names.append(item)
        # One row more is read to see that a request is full.
        assert read <= (row // MAX_MESSAGE_ROWS + UNDER_WAY) * MAX_MESSAGE_ROWS + 1
    assert names == [Text(f"text {number}") for number in range(12 * MAX_MESSAGE_ROWS)]
    assert len(recorder.asked("Predict")) == 12


def test_full_server_is_asked_again_and_for_fewer_rows(
    run: Run, recorder: Recorder, mood: str, tmp_path: Path
) -> None:
    texts = tmp_path / "many.csv"
    texts.write_text("text\n" + "".join(f"text {row}\n" for row in range(2 * MAX_MESSAGE_ROWS)))
    at_once = MAX_MESSAGE_ROWS // 4

    def full(request: Any, context: grpc.ServicerContext) -> None:
        if len(request.inputs) > at_once:
            refuse(context, "RESOURCE_EXHAUSTED", "queue full", retry_seconds=0.001)

    recorder.hooks["Predict"] = [full] * 100
    result = run("predict", mood, texts)
    assert result.exit_code == 0, result.stderr
    names = [line.split("\t")[0] for line in result.stdout.splitlines()]
    assert names == [f"text {row}" for row in range(2 * MAX_MESSAGE_ROWS)]


def test_words_stand_above_the_progress_bar(
    server: Server, recorder: Recorder, mood: str, tmp_path: Path
) -> None:
    def full(_: Any, context: grpc.ServicerContext) -> None:
        refuse(context, "RESOURCE_EXHAUSTED", "queue full", retry_seconds=0.001)

    recorder.hooks["Predict"] = [full]
    arguments = ["predict", mood, "--text", "a", "--output", tmp_path / "a.csv"]
    with Terminal(server.address, *arguments) as terminal:
        status, shown = terminal.end()
    assert (status, "\x1b[2Kqueue full" in shown) == (0, True), shown


def test_server_that_stays_full_ends_the_command(run: Run, recorder: Recorder, mood: str) -> None:
    def full(_: Any, context: grpc.ServicerContext) -> None:
        refuse(context, "RESOURCE_EXHAUSTED", "queue full", retry_seconds=0.001)

    recorder.hooks["Predict"] = [full] * 100
    result = run("predict", mood, "--text", "a", "--text", "b")
    assert (result.exit_code, "error: queue full" in result.stderr) == (1, True)
    assert len(recorder.asked("Predict")) < 20


def test_what_cannot_be_read_ends_the_command_after_the_rows_before_it(
    run: Run, mood: str, tmp_path: Path
) -> None:
    texts = tmp_path / "many.csv"
    texts.write_text("text\n" + "good\n" * (MAX_MESSAGE_ROWS + 2))
    result = run("predict", mood, texts, tmp_path / "none.csv")
    assert (result.exit_code, len(result.stdout.splitlines())) == (1, MAX_MESSAGE_ROWS + 2)
    assert "none.csv: cannot be read: No such file" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-", "-"], "can be read once"),
        (["a.png", "--stdin", "texts"], "give - as a PATH"),
        (["-", "--stdin", "texts", "--text-column", "body"], "no table"),
        (["--text", "x", "--csv", "--json"], "--csv or --json"),
        (["--text", "x", "--csv", "--top", "1001"], "1,000 at most"),
        (["--text", "x", "--resume"], "--output"),
        ([], "PATH, - or --text"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(run: Run, arguments: list[str], words: str) -> None:
    result = run("predict", "acme/mood", *arguments)
    assert (result.exit_code, words in result.stderr) == (2, True)
