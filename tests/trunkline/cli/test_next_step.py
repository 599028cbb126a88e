"""What is said to come next: in a terminal alone, and fit to be pasted."""

import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from tests.pseudo_terminal import PseudoTerminal
from tests.trunkline.recording import Recorder, Server
from tests.trunkline.sample_reports import DIGEST
from tests.trunkline.steps import Run
from trunkline.cli import main
from trunkline.digest import text_digest
from trunkline.v1 import advice_pb2

GOOD = text_digest("good")[:16]


def in_terminal(*arguments: object) -> str:
    """Runs the command line with a terminal as standard output and error; returns what it shows."""
    terminal = PseudoTerminal()
    with (
        contextlib.redirect_stdout(terminal.stream),
        contextlib.redirect_stderr(terminal.stream),
        contextlib.suppress(SystemExit),
    ):
        main([str(argument) for argument in arguments])
    return terminal.close()


def said(text: str) -> list[str]:
    return [line.removeprefix("next: ") for line in text.splitlines() if line[:6] == "next: "]


def understand(command: click.Command, words: list[str]) -> None:
    """Reads a command line, as it is before it is run. Raises `click.UsageError`."""
    if isinstance(command, click.Group):
        understand(command.commands[words[0]], words[1:])
    else:
        command.make_context(command.name, words)


@pytest.fixture
def next_of(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str | None]:
    """Runs a command in a terminal; returns the command that is said to come next."""
    monkeypatch.setenv("TRUNKLINE_SERVER", server.address)

    def next_of(*arguments: object) -> str | None:
        text = in_terminal(*arguments)
        assert "error:" not in text, text
        assert "Usage:" not in text, text
        lines = said(text)
        assert len(lines) <= 1, text
        if not lines:
            return None
        program, *words = shlex.split(lines[0])
        assert program == "trunkline"
        understand(main, words)
        return lines[0].removeprefix("trunkline ")

    return next_of


NextOf = Callable[..., str | None]


def test_chores_of_a_head_lead_from_one_to_the_next(
    next_of: NextOf, recorder: Recorder, table: Path, tmp_path: Path
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
        (["predict", "acme/mood", table], "feedback acme/mood PATH LABEL"),
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
        (["examples", "list", "acme/mood"], f"examples relabel acme/mood CLASS {GOOD}"),
        (["examples", "show", "acme/mood", GOOD], f"examples relabel acme/mood CLASS {GOOD}"),
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
    for command, expected in steps:
        assert next_of(*command) == expected, command


def test_empty_list_says_how_to_fill_it(next_of: NextOf) -> None:
    assert next_of("heads", "list") == "train TENANT/HEAD PATH"
    assert next_of("heads", "list", "acme") == "train acme/HEAD PATH"
    next_of("heads", "create", "acme/mood", "--backbone", "minilm/l6-v2")
    assert next_of("heads", "versions", "acme/mood") == "train acme/mood PATH"
    assert next_of("examples", "list", "acme/mood") == "train acme/mood PATH"
    assert next_of("examples", "list", "acme/mood", "--unlabelled") == "label acme/mood PATH"
    assert next_of("classes", "list", "acme/mood") == "train acme/mood PATH"
    assert next_of("heads", "feedback", "list", "acme/mood") == "feedback acme/mood PATH LABEL"


def test_advice_leads_to_its_best_head_named_as_the_data(
    next_of: NextOf, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "my moods" / "mood.csv"
    table.parent.mkdir()
    table.write_text("words,label\ngood,yes\nfine,yes\nbad,no\nawful,no\n")
    asked = ["advise", table, "--text-column", "words", "--tenant", "acme"]
    assert next_of(*asked) is None  # direct training is better, which no command does
    recorder.verdict = advice_pb2.VERDICT_EITHER
    line = next_of(*asked)
    assert line is not None
    assert shlex.split(line) == [
        *("train", "acme/mood", str(table), "--backbone", "minilm/l6-v2", "--text-column=words")
    ]


def test_what_is_said_can_be_pasted_back_to_the_same_server(server: Server, table: Path) -> None:
    for options in (["--server", server.address, "heads", "list"], ["heads", "list", "--server"]):
        command = options if options[-1] == "list" else [*options, server.address]
        (line,) = said(in_terminal(*command))
        assert line == f"trunkline --server {server.address} train TENANT/HEAD PATH"
    first = ["--server", server.address, "--token", "secret", "train", "acme/mood", table]
    (line,) = said(in_terminal(*first))
    assert "secret" not in line
    again = shlex.split(line)[1:]
    assert "TEXT\t" in in_terminal(*again)


def test_nothing_is_said_with_json_or_to_what_is_no_terminal(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUNKLINE_SERVER", server.address)
    assert said(in_terminal("heads", "list"))
    assert json.loads(in_terminal("heads", "list", "--json")) == {"heads": []}
    assert said(run("heads", "list").output) == []
    command = [sys.executable, "-m", "trunkline", "heads", "list"]
    for piped in ("stdout", "stderr"):
        terminal = PseudoTerminal()
        streams = {"stdout": terminal.stream, "stderr": terminal.stream, piped: subprocess.PIPE}
        ended = subprocess.run(command, **streams, text=True, check=True)  # type: ignore[call-overload]
        assert said(terminal.close() + (getattr(ended, piped) or "")) == []


def test_name_that_a_terminal_cannot_show_is_not_said(
    next_of: NextOf, run: Run, table: Path
) -> None:
    run("train", "acme/mood", table)
    assert next_of("predict", "acme/mood", "--text", "a\x1b[2Jb") is None
