"""Tables fit the terminal, nothing in them is cut or broken within a word, and figures align."""

import json
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.terminal import Terminal, in_terminal
from tests.trunkline.recording import FINGERPRINT, Recorder, Server
from tests.trunkline.steps import Run
from trunkline import Client
from trunkline.cli.tables import facts_lines, table_lines, wrapped
from trunkline.digest import text_digest
from trunkline.v1 import advice_pb2

LABELS = ["scratch", "a deep scratch on the left side", "discolouration", "\u50b7\u306a\u3057"]
LONG_NAME = "surface-inspection-of-line-4"
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def commands(recorder: Recorder, client: Client, tmp_path: Path) -> list[list[str]]:
    """Every command that prints a table or facts, on heads that have something of everything."""
    recorder.page = 100
    recorder.verdict = advice_pb2.VERDICT_EITHER  # comes without code, whose lines are never broken
    for name in ("mood", LONG_NAME):
        client.create_head(f"acme/{name}", "minilm/l6-v2")
        client.add_examples(f"acme/{name}", [(f"text {i}", LABELS[i % 4]) for i in range(8)])
        client.train(f"acme/{name}")
    client.feedback("acme/mood", [("text 1", "dent")])
    rows = "".join(f"other {i},{LABELS[i % 4]}\n" for i in range(4))
    folder = tmp_path / "a folder of many" / "and long names" / ("x" * 30)
    folder.mkdir(parents=True)
    table = folder / "new.csv"
    table.write_text(f"text,label\n{rows}", encoding="utf-8")
    return [
        ["backbones"],
        ["heads", "list", "acme"],
        ["heads", "show", "acme/mood"],
        ["heads", "versions", "acme/mood"],
        ["heads", "feedback", "list", "acme/mood"],
        ["heads", "retrain", "acme/mood"],
        ["examples", "list", "acme/mood"],
        ["classes", "list", "acme/mood"],
        ["trainings", "show", "tenants/acme/heads/mood/trainings/t1"],
        ["report", "acme/mood", "--data", str(table)],
        ["evaluate", "acme/mood", str(table)],
        ["advise", str(table)],
        ["train", f"acme/{LONG_NAME}", str(table)],
    ]


def pieces(words: str) -> set[str]:
    return {piece for word in words.split() for piece in re.split(r"(?<=/)(?=.)", word)}


@pytest.mark.parametrize("columns", [80, 60])
def test_tables_fit_the_terminal_and_lose_and_break_no_word(
    run: Run, server: Server, commands: list[list[str]], columns: int
) -> None:
    shown = in_terminal(server.address, commands, columns)
    assert len(shown) == len(commands)
    assert "\x1b[1mclass" in "".join(shown)
    for command, words in zip(commands, shown, strict=True):
        plain = _STYLE.sub("", words)
        assert max(map(cell_len, plain.splitlines())) <= columns, (command, plain)
        if command[0] not in ("train", "heads"):  # which go on to another version each time
            piped = pieces(run(*command).stdout)
            # The columns of a matrix that are numbered for want of room.
            assert pieces(plain) - piped <= {"1", "2", "3", "4", "5"}, command
            assert piped <= pieces(plain), command


def test_piped_tables_have_a_line_for_each_row_and_no_escapes(
    run: Run, commands: list[list[str]]
) -> None:
    for command in commands:
        assert "\x1b" not in run(*command).stdout
    header, *rows = run("examples", "list", "acme/mood").stdout.splitlines()
    assert header.split()[:2] == ["example", "class"]
    assert len(rows) == 8
    assert sum(LABELS[1] in row for row in rows) == 2
    assert not any(row.endswith(" ") for row in rows)
    many = run("heads", "retrain", "acme/mood").stdout
    assert len(many.splitlines()) == 2


def test_mistake_of_usage_is_told_in_lines_that_fit_the_terminal(server: Server) -> None:
    with Terminal(server.address, "heads", "show", "acme", columns=40) as terminal:
        status, shown = terminal.end()
    lines = shown[shown.index("Error: ") :].splitlines()
    assert (status, len(lines)) == (2, 2)
    assert all(len(line) <= 40 for line in lines)
    assert " ".join(lines).endswith("head must match TENANT/HEAD, got 'acme'")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_terminal_that_wants_no_styles_is_sent_none(
    server: Server, commands: list[list[str]], environment: dict[str, str]
) -> None:
    (shown,) = in_terminal(
        server.address, [["classes", "list", "acme/mood"]], 80, variables=environment
    )
    assert "scratch" in shown
    assert "\x1b" not in shown


def test_digests_are_short_in_tables_and_whole_in_json(run: Run, commands: list[list[str]]) -> None:
    digest = text_digest("text 1")
    for command, whole in (
        (["backbones"], FINGERPRINT),
        (["heads", "show", "acme/mood"], FINGERPRINT),
        (["examples", "list", "acme/mood"], digest),
    ):
        shown = run(*command).stdout
        assert f"{whole[:16]}…" in shown
        assert whole not in shown
        assert whole in run(*command, "--json").stdout
    short = f"{digest[:16]}…"
    asked = run("examples", "show", "acme/mood", short, "--json")
    assert digest in {row["digest"] for row in json.loads(asked.stdout)["examples"]}


def test_figures_are_aligned_to_the_right_with_unit_and_interval() -> None:
    rows = [
        ["a", "9", "9.5 s", "1.0%", "95.0% (90.0% to 100.0%)", "0.5 ± 0.1", "cat 1"],
        ["b", "1,234", "10 ms", "100.0%", "5.0% (4.0% to 6.0%)", "12 ± 3", "dog"],
        ["c", "-", "4.2 MB", "-", "not tried", "1 to 2", "elephant"],
    ]
    header, lines = table_lines(["name", *"uvwxyz"], rows, None)
    ends = [header[0].index(letter) + 1 for letter in "uvwxy"]
    for line, row in zip(lines, rows, strict=True):
        for end, cell in zip(ends, row[1:6], strict=True):
            assert line[:end].endswith(cell)
        assert line[header[0].index("z") :] == row[6]


def test_columns_of_words_with_a_number_among_them_stay_to_the_left() -> None:
    _, lines = table_lines(["head", "class"], [["a", "7"], ["b", "cat"], ["c", "dog"]], None)
    assert lines == ["a     7", "b     cat", "c     dog"]


def test_headers_give_way_first_then_cells_between_words_and_the_first_column_last() -> None:
    rows = [["one two", "three four", "7"]]
    header = ["name", "words", "examples held out"]
    assert table_lines(header, rows, 34)[0] == [
        "name     words       examples held",
        "                               out",
    ]
    assert table_lines(header, rows, 25)[1] == ["one two  three          7", "         four"]
    assert table_lines(header, rows, 21)[1] == ["one   three         7", "two   four"]


def test_table_without_room_for_its_words_becomes_blocks() -> None:
    header, lines = table_lines(["name", "path"], [["one", "a" * 12], ["two", "b c"]], 14)
    assert header == []
    assert lines == ["name  one", f"path  {'a' * 12}", "", "name  two", "path  b c"]


def test_paths_break_after_a_slash_and_only_where_a_line_has_no_room_for_them() -> None:
    assert wrapped("see /var/lib/data now", 14) == ["see", "/var/lib/data", "now"]
    assert wrapped("see /var/lib/data now", 9) == ["see /var/", "lib/data", "now"]
    assert wrapped("x" * 20, 9) == ["x" * 20]
    assert wrapped("10 ms or 3 kB", 8) == ["10 ms or", "3 kB"]


def test_wide_characters_count_as_two_columns() -> None:
    assert facts_lines([("名前", "a"), ("b", "c")], None) == ["名前  a", "b     c"]
    assert wrapped("名前 名前", 8) == ["名前", "名前"]
