"""What is said to come next: in a terminal alone, and fit to be pasted."""

import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from tests.terminal import Terminal, in_terminal
from tests.trunkline import sample_reports
from tests.trunkline.datasets.trees import tree
from tests.trunkline.recording import Recorder, Server
from tests.trunkline.sample_reports import DIGEST
from trunkline.cli import main
from trunkline.digest import text_digest
from trunkline.v1 import advice_pb2

GOOD = text_digest("good")[:16]


def said(text: str) -> list[str]:
    return [line.removeprefix("next: ") for line in text.splitlines() if line[:6] == "next: "]


def understand(command: click.Command, words: list[str]) -> None:
    """Reads a command line, as it is before it is run. Raises `click.UsageError`."""
    if isinstance(command, click.Group):
        understand(command.commands[words[0]], words[1:])
    else:
        command.make_context(command.name, words)


def next_of(server: Server, *commands: Sequence[object]) -> list[str | None]:
    """Runs commands in a terminal; returns the command that each says comes next."""
    shown = in_terminal(server.address, commands, 80, with_errors=True)
    assert len(shown) == len(commands)
    return [next_in(text) for text in shown]


def next_in(text: str) -> str | None:
    lines = said(text)
    assert len(lines) <= 1, text
    if not lines:
        return None
    program, *words = shlex.split(lines[0])
    assert program == "trunkline"
    understand(main, words)
    return lines[0].removeprefix("trunkline ")


def test_chores_of_a_head_lead_from_one_to_the_next(
    server: Server, table: Path, tmp_path: Path
) -> None:
    running, file = "tenants/acme/heads/mood/trainings/t1", tmp_path / "mood.safetensors"
    test = tmp_path / "test.csv"
    test.write_text("text,label\nlovely,yes\ngrim,no\n")
    minilm = ("--backbone", "minilm/l6-v2")
    exported = f"heads import TENANT/HEAD {file} {' '.join(minilm)}"
    steps: list[tuple[list[object], str | None]] = [
        (["heads", "create", "acme/mood", *minilm], "train acme/mood PATH"),
        (["heads", "show", "acme/mood"], "train acme/mood PATH"),
        (["train", "acme/mood", table], "predict acme/mood --text TEXT"),
        (["train", "acme/mood", "--no-activate"], "heads activate acme/mood 2"),
        (["heads", "versions", "acme/mood"], "heads activate acme/mood 2"),
        (["heads", "activate", "acme/mood", "2"], "predict acme/mood PATH"),
        (["heads", "versions", "acme/mood"], "report acme/mood"),
        (["heads", "list"], "heads versions acme/mood"),
        (["heads", "show", "acme/mood"], "report acme/mood"),
        (["predict", "acme/mood", table], "feedback acme/mood --text TEXT LABEL"),
        (
            ["predict", "acme/mood", "--text", "so good"],
            "feedback acme/mood --text 'so good' LABEL",
        ),
        (["feedback", "acme/mood", "--text", "x", "yes"], "heads show acme/mood"),
        (["heads", "feedback", "list", "acme/mood"], "heads show acme/mood"),
        (["heads", "promote", "acme/mood"], "report acme/mood"),
        (["feedback", "acme/mood", "--text", "y", "yes"], "heads show acme/mood"),
        (["heads", "drop", "acme/mood"], "heads feedback list acme/mood --state quarantined"),
        (["heads", "feedback", "release", "acme/mood", "--all"], "train acme/mood"),
        (["examples", "list", "acme/mood"], "examples relabel acme/mood CLASS mood.csv:2"),
        (["examples", "show", "acme/mood", GOOD], "examples relabel acme/mood CLASS mood.csv:2"),
        (["examples", "relabel", "acme/mood", "no", GOOD], "train acme/mood"),
        (["examples", "delete", "acme/mood", GOOD, "--yes"], "train acme/mood"),
        (["forget", "acme/mood", "--text", "fine", "--yes"], "heads versions acme/mood"),
        (["label", "acme/mood"], "label acme/mood PATH"),
        (["report", "acme/mood"], f"examples show acme/mood {DIGEST[:16]}"),
        (["heads", "update", "acme/mood", "--policy", "manual"], None),
        (["heads", "update", "acme/mood", "--family", "ridge"], "train acme/mood"),
        (["heads", "retrain", "acme"], "heads list acme"),
        (["classes", "list", "acme/mood"], "examples list acme/mood --label no"),
        (["classes", "rename", "acme/mood", "no", "sad"], "predict acme/mood PATH"),
        (["trainings", "show", running], "trainings show acme/mood"),
        (["trainings", "cancel", running], "train acme/mood"),
        (["evaluate", "acme/mood", test], "report acme/mood"),
        (["evaluate", "acme/mood", test, "--version", 1], "heads activate acme/mood 1"),
        (["heads", "export", "acme/mood", file], exported),
        (["heads", "import", "acme/new", file, *minilm], "predict acme/new PATH"),
        (["classes", "merge", "acme/mood", "yes", "--into", "no"], "report acme/mood"),
        (["backbones"], "advise PATH"),
        (["backbones", "load", "minilm/l6-v2"], "train TENANT/HEAD PATH --backbone minilm/l6-v2"),
        (["heads", "delete", "acme/mood", "--yes"], "heads list acme"),
    ]
    found = next_of(server, *(command for command, _ in steps))
    for (command, expected), line in zip(steps, found, strict=True):
        assert line == expected, command


def test_example_is_called_by_its_name_where_that_can_be_typed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (picture := tmp_path / "a b.png").write_bytes(b"one")
    (tmp_path / "c.png").write_bytes(b"two")
    root = tree(tmp_path / "shapes", "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    steps = [["train", "acme/shapes", root]]
    for given in ([picture], [tmp_path], [picture] * 2):
        steps.append(["predict", "acme/shapes", *given])
    assert next_of(server, *steps)[1:] == [
        f"feedback acme/shapes '{picture}' LABEL",
        *["feedback acme/shapes PATH LABEL"] * 2,
    ]
    digest, picture_here = DIGEST[:16], os.path.relpath(picture)
    words = {"a/1 x.png": "'a/1 x.png'", "-v": digest, picture_here: digest, "": digest}
    for name, word in words.items():
        monkeypatch.setattr(sample_reports, "NAME", name)
        assert next_of(server, ["report", "acme/shapes"]) == [f"examples show acme/shapes {word}"]


def test_empty_list_says_how_to_fill_it(server: Server) -> None:
    steps = {
        "heads list": "train TENANT/HEAD PATH",
        "heads list acme": "train acme/HEAD PATH",
        "heads create acme/mood --backbone minilm/l6-v2": "train acme/mood PATH",
        "heads versions acme/mood": "train acme/mood PATH",
        "examples list acme/mood": "train acme/mood PATH",
        "examples list acme/mood --unlabelled": "label acme/mood PATH",
        "classes list acme/mood": "train acme/mood PATH",
        "heads feedback list acme/mood": "feedback acme/mood PATH LABEL",
    }
    assert next_of(server, *map(str.split, steps)) == [*steps.values()]


def test_advice_leads_to_its_best_head_named_as_the_data(
    server: Server, recorder: Recorder, tmp_path: Path
) -> None:
    table = tmp_path / "my moods" / "mood.csv"
    table.parent.mkdir()
    table.write_text("words,label\ngood,yes\nfine,yes\nbad,no\nawful,no\n")
    asked = ["advise", table, "--text-column", "words", "--tenant", "acme"]
    assert next_of(server, asked) == [None]  # direct training is better, which no command does
    recorder.verdict = advice_pb2.VERDICT_EITHER
    assert next_of(server, asked) == [None]  # and so it is where neither is clearly better
    recorder.recommended = "minilm/l6-v2"
    (line,) = next_of(server, asked)
    assert line is not None
    assert shlex.split(line) == [
        *("train", "acme/mood", str(table), "--backbone", "minilm/l6-v2", "--text-column=words")
    ]


def test_what_is_said_can_be_pasted_back_to_the_same_server(server: Server, table: Path) -> None:
    (before,), (after,), (secret,) = map(
        said,
        in_terminal(
            server.address,
            [
                ["--server", server.address, "heads", "list"],
                ["heads", "list", "--server", server.address],
                ["--server", server.address, "--token", "secret", "train", "acme/mood", table],
            ],
            with_errors=True,
        ),
    )
    assert before == f"trunkline --server {server.address} train TENANT/HEAD PATH" == after
    assert "secret" not in secret
    with Terminal("127.0.0.1:1", *shlex.split(secret)[1:]) as terminal:
        status, shown = terminal.end()
    assert (status, "TEXT\t" in shown) == (0, True)


def test_line_that_is_said_is_not_broken_where_the_terminal_ends(server: Server) -> None:
    head = "acme/" + "-".join(["head"] * 12)
    (line,) = next_of(server, ["heads", "create", head, "--backbone", "minilm/l6-v2"])
    assert line == f"train {head} PATH"


def test_nothing_is_said_with_json_or_to_what_is_no_terminal(server: Server) -> None:
    words, document = in_terminal(
        server.address, [["heads", "list"], ["heads", "list", "--json"]], with_errors=True
    )
    assert said(words)
    assert json.loads(document) == {"heads": []}
    with Terminal(server.address, "heads", "list", stdout=subprocess.DEVNULL) as terminal:
        assert terminal.end() == (0, "")
    with Terminal(server.address, "heads", "list", stderr=subprocess.PIPE) as terminal:
        assert (terminal.end()[0], terminal.errors()) == (0, "")


def test_name_that_a_terminal_cannot_show_is_not_said(server: Server, table: Path) -> None:
    asked = ["predict", "acme/mood", "--text", "a\x1b[2Jb"]
    assert next_of(server, ["train", "acme/mood", table], asked)[1] is None
