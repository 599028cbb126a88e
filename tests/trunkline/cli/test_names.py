"""The command line stores what files call inputs, and calls them so."""

import json
from pathlib import Path

import pytest

from tests.trunkline.recording import Recorder
from tests.trunkline.steps import Run
from trunkline import Client, NewExample
from trunkline.digest import text_digest

HEAD = "acme/mood"


def stored(client: Client) -> list[str | None]:
    return [row.external_id for row in client.list_examples(HEAD)]


def test_training_stores_names_unless_told_not_to(run: Run, client: Client, table: Path) -> None:
    assert run("train", HEAD, table, "--no-names").exit_code == 0
    assert stored(client) == [None] * 4
    test = table.with_name("test.csv")
    test.write_text("text,label\nfair,yes\n", encoding="utf-8")
    assert run("train", HEAD, table, "--test", test).exit_code == 0
    assert stored(client) == [*(f"mood.csv:{line}" for line in range(2, 6)), "test.csv:2"]
    assert run("train", HEAD, table, "--no-names").exit_code == 0
    assert stored(client)[0] == "mood.csv:2"
    without = run("train", HEAD, "--no-names")
    assert (without.exit_code, "need a PATH" in without.stderr) == (2, True)


def test_measuring_and_advice_tell_nothing_of_names(
    run: Run, client: Client, tmp_path: Path
) -> None:
    table = tmp_path / ("x" * 250 + ".csv")
    rows = "".join(f"{text},{label}\n" for text in "abcdefghij" for label in ("yes", "no"))
    table.write_text("text,label\n" + rows.replace("a,no\n", "z,no\n"), encoding="utf-8")
    trained = run("train", HEAD, table)
    assert "names changed, being longer than 256 bytes" in trained.stderr
    assert "name" not in run("evaluate", HEAD, table, "--with-trained").stderr


def test_a_class_given_last_is_told_where_it_belongs(run: Run, client: Client, table: Path) -> None:
    run("train", HEAD, table)
    turned = run("examples", "relabel", HEAD, "mood.csv:2", "no")
    assert turned.exit_code == 1
    assert f"relabel takes the class first: relabel {HEAD} CLASS EXAMPLE" in turned.stderr
    unknown = run("examples", "relabel", HEAD, "no", "mood.csv:9")
    assert "the class first" not in unknown.stderr


def test_class_that_the_head_does_not_have_is_told(run: Run, client: Client, table: Path) -> None:
    run("train", HEAD, table)
    new = run("examples", "relabel", HEAD, "yess", "mood.csv:2")
    assert "new class 'yess'; nearest: 'yes'" in new.stderr
    known = run("examples", "relabel", HEAD, "yess", "mood.csv:3", "--json")
    assert json.loads(known.stdout)["notices"] == []
    other = run("examples", "relabel", HEAD, "perhaps", "mood.csv:3", "--json")
    assert [row["reason"] for row in json.loads(other.stdout)["notices"]] == ["new_class"]
    assert "class" not in run("examples", "relabel", HEAD, "", "mood.csv:3").stderr


def test_labelling_stores_and_shows_names(
    run: Run, recorder: Recorder, client: Client, table: Path
) -> None:
    run("train", HEAD, table)
    new = table.with_name("new.csv")
    new.write_text("text\nso so\nwell well\n", encoding="utf-8")
    assert run("label", HEAD, new, answers="q\n").exit_code == 0
    assert stored(client)[4:] == ["new.csv:2", "new.csv:3"]
    shown = run("label", HEAD, "--json", answers="yes\nq\n")
    assert "[1/2] new.csv:2" in shown.stderr
    (labelled,) = json.loads(shown.stdout)["labelled"]
    assert labelled["name"] == "new.csv:2"
    new.write_text("text\nno name\n", encoding="utf-8")
    run("label", HEAD, new, "--no-names", answers="q\n")
    assert stored(client)[-1] is None


def test_a_text_that_is_kept_is_shown_with_its_name(run: Run, client: Client) -> None:
    client.create_head(HEAD, "minilm/l6-v2", keep_inputs=True)
    rows = [NewExample("so so", external_id="new.csv:2"), NewExample("well well")]
    client.add_examples(HEAD, rows)
    shown = run("label", HEAD, answers="s\nq\n").stderr
    assert "[1/2] so so (new.csv:2)\n" in shown
    assert "[2/2] well well\n" in shown


@pytest.fixture
def named(client: Client) -> dict[str, str]:
    """Digests of a head's examples by their names."""
    client.create_head(HEAD, "minilm/l6-v2")
    names = {"good": "a/1.txt", "fine": "a/2.txt", "bad": "twice", "awful": "twice"}
    rows = [NewExample(text, "yes", external_id=name) for text, name in names.items()]
    digits = text_digest("good")[:8]
    client.add_examples(HEAD, [*rows, NewExample("odd", "no", external_id=digits)])
    return {name: text_digest(text) for text, name in names.items()}


def test_examples_are_called_by_name_where_one_alone_is_called_so(
    run: Run, recorder: Recorder, named: dict[str, str], tmp_path: Path
) -> None:
    known = recorder.examples["tenants/acme/heads/mood"]
    listed = run("examples", "list", HEAD).stdout
    assert "a/1.txt" in listed
    shown = json.loads(run("examples", "show", HEAD, "a/1.txt", "--json").stdout)["examples"]
    assert [(row["digest"], row["external_id"]) for row in shown] == [(named["a/1.txt"], "a/1.txt")]
    assert run("examples", "relabel", HEAD, "no", "a/1.txt", "a/2.txt").exit_code == 0
    assert (known[named["a/1.txt"]], known[named["a/2.txt"]]) == ("no", "no")
    assert run("examples", "delete", HEAD, "a/1.txt", "--yes").exit_code == 0
    assert run("forget", HEAD, "a/2.txt", "--yes").exit_code == 0
    assert not {named["a/1.txt"], named["a/2.txt"]} & known.keys()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("a/3.txt", "no example named a/3.txt, and there is no such file"),
        ("twice", "2 examples named twice: name one by its digest"),
        (text_digest("good")[:8], "2 examples whose digest begins with"),
        ("x/" * 129, "No such file"),
        (b"\xff.txt".decode(errors="surrogateescape"), "No such file"),
    ],
)
def test_a_name_of_none_or_of_several_changes_nothing(
    run: Run, recorder: Recorder, named: dict[str, str], word: str, said: str
) -> None:
    result = run("examples", "delete", HEAD, "a/1.txt", word, "--yes")
    assert (result.exit_code, said in result.stderr) == (1, True), result.stderr
    assert len(recorder.examples["tenants/acme/heads/mood"]) == 5


def test_a_name_may_look_like_a_digest(run: Run, client: Client, named: dict[str, str]) -> None:
    key = "0123456789abcdef" * 4
    client.add_examples(HEAD, [NewExample("keyed", "yes", external_id=key)])
    shown = json.loads(run("examples", "show", HEAD, key, "--json").stdout)["examples"]
    assert [row["digest"] for row in shown] == [text_digest("keyed")]
    whole = named["a/1.txt"]
    shown = json.loads(run("examples", "show", HEAD, whole.upper(), "--json").stdout)["examples"]
    assert [row["digest"] for row in shown] == [whole]


def test_a_file_of_that_path_comes_before_a_name(
    run: Run, named: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("twice").write_text("no picture", encoding="utf-8")
    result = run("examples", "show", HEAD, "twice")
    assert "1 input of no example" in result.stderr
