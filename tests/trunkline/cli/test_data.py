"""What commands say of the data that they read, and what they check before anything is sent."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.terminal import Terminal
from tests.trunkline.datasets.trees import tree
from tests.trunkline.recording import Recorder, Server
from tests.trunkline.steps import Run
from trunkline import Client, Image, NewExample
from trunkline.digest import image_digest, text_digest

HEAD = "tenants/acme/heads/mood"


def notices(result: Result) -> dict[str, dict[str, Any]]:
    return {row["reason"]: row for row in json.loads(result.stdout)["notices"]}


def test_what_a_folder_leaves_out_is_told_by_person_and_program(run: Run, tmp_path: Path) -> None:
    heic = [f"a/{number}.heic" for number in range(5)]
    root = tree(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/.x", "x.png", *heic)
    result = run("train", "acme/shapes", root, "--json")
    assert result.exit_code == 0, result.stderr
    found = notices(result)
    assert set(found) == {"left_out_suffix", "left_out_hidden", "left_out_place"}
    assert found["left_out_suffix"]["names"] == [str(root / name) for name in heic]
    told = f"5 .heic files left out, as this format is not read: {root / heic[0]}"
    (line,) = [line for line in result.stderr.splitlines() if line.startswith(told)]
    assert line.endswith("and 2 more")
    for command in (["advise", root, "--json"], ["label", "acme/shapes", root, "--json"]):
        assert "left_out_suffix" in notices(run(*command, answers="q\n"))


def test_predict_and_forget_tell_what_they_leave_out(run: Run, tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/3.avif")
    assert run("train", "acme/shapes", root).exit_code == 0
    result = run("predict", "acme/shapes", root, "--json")
    assert len(result.stdout.splitlines()) == 4
    assert "1 .avif file left out" in result.stderr.splitlines()[-1]
    assert "left_out_suffix" in notices(run("forget", "acme/shapes", root / "b", "--yes", "--json"))


def test_a_bad_row_fails_alone_and_is_named_by_its_line(
    run: Run, recorder: Recorder, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(b"text,label\ngood,yes\ncaf\xe9,yes\nfine,yes\nbad,no\nawful,no\nx\n")
    result = run("train", "acme/mood", table, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["version"], document["upload"]["failed"]) == (1, 2)
    assert [row["value"] for row in document["upload"]["failures"]] == [
        f"{table}:3",
        f"{table}:7",
    ]
    assert f"failed: {table}:3: `text` is not UTF-8: byte 0xe9" in result.stderr
    assert set(recorder.examples[HEAD].values()) == {"yes", "no"}
    advised = run("advise", table)
    assert advised.exit_code == 1
    assert f"failed: {table}:7: expected 2 columns, found 1" in advised.stderr


def test_predict_answers_the_rows_around_a_bad_one_in_order(
    run: Run, table: Path, tmp_path: Path
) -> None:
    run("train", "acme/mood", table)
    rows = tmp_path / "rows.csv"
    rows.write_bytes(b"text;id\ngood;1\n\xff;2\nbad;3\n")
    result = run("predict", "acme/mood", rows, "--json")
    assert result.exit_code == 1
    first, second, third = map(json.loads, result.stdout.splitlines())
    assert (first["label"], third["label"]) == ("yes", "no")
    assert second["row"] == f"{rows}:3"
    assert "0xff" in second["error"]["message"]
    shown = run("predict", "acme/mood", rows).stdout.splitlines()
    assert shown[1].startswith(f"{rows}:3\terror: `text` is not UTF-8")


def test_label_stores_what_can_be_read_and_names_the_rest(
    run: Run, recorder: Recorder, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    table.write_bytes(b"text\nnew\n\xff\nnew\n")
    result = run("label", "acme/mood", table, "--json", answers="yes\n")
    assert result.exit_code == 1
    assert f"failed: {table}:3: " in result.stderr
    assert notices(result)["row_repeated"]["names"] == ["new"]
    assert recorder.examples[HEAD] == {text_digest("new"): "yes"}


def test_columns_are_named_and_groups_are_read(
    run: Run, recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[str | None] = []
    send = Client.upload

    def upload(self: Client, head: str, examples: list[NewExample], *rest: Any, **more: Any) -> Any:
        groups.extend(example.group for example in examples)
        return send(self, head, examples, *rest, **more)

    monkeypatch.setattr(Client, "upload", upload)
    table = tmp_path / "t.csv"
    table.write_text("Review;Stars;Author\ngood;5;ann\nbad;1;bob\nfine;5;ann\npoor;1;\n")
    columns = ["--text-column", "review", "--label-column", "stars", "--group-column", "author"]
    result = run("train", "acme/mood", table, *columns)
    assert result.exit_code == 0, result.stderr
    assert set(recorder.examples[HEAD].values()) == {"5", "1"}
    assert groups == ["ann", "bob", "ann", None]
    assert run("advise", table, *columns).exit_code == 0
    assert len(run("predict", "acme/mood", table, *columns[:2]).stdout.splitlines()) == 4
    assert run("report", "acme/mood", "--data", table, *columns[:2]).exit_code == 0
    missing = run("train", "acme/mood", table)
    assert "--text-column or --path-column name another one" in missing.stderr
    both = run("train", "acme/mood", table, "--text-column", "a", "--path-column", "b")
    assert both.exit_code == 2


@pytest.mark.parametrize("command", ["train acme/a", "advise", "label acme/a", "predict acme/a"])
def test_columns_without_a_table_are_a_usage_error(run: Run, tmp_path: Path, command: str) -> None:
    root = tree(tmp_path, "a/1.png", "b/1.png")
    result = run(*command.split(), root, "--text-column", "review")
    assert (result.exit_code, "no table" in result.stderr) == (2, True)


def test_a_text_that_the_server_refuses_is_named_by_its_line(
    run: Run, recorder: Recorder, tmp_path: Path
) -> None:
    text = "word " * 50_000
    recorder.bad_digests.add(text_digest(text))
    (tmp_path / "t.csv").write_text(f"text,label\n{text},yes\ngood,yes\nbad,no\n")
    for command in (["train", "acme/mood"], ["advise"]):
        result = run(*command, tmp_path / "t.csv")
        assert result.exit_code == 1
        assert f"failed: {tmp_path / 't.csv'}:2: cannot be decoded" in result.stderr
        assert max(map(len, result.stderr.splitlines())) < 300


def test_classes_of_a_test_set_may_have_one_example(run: Run, table: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,label\nlovely,yes\npoor,no\n")
    result = run("train", "acme/mood", table, "--test", tmp_path / "test.csv", "--json")
    assert json.loads(result.stdout)["notices"] == []


def test_classes_that_only_the_test_set_has_are_told(run: Run, table: Path, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,label\nlovely,Yes\npoor,no\nodd,Yes\n")
    result = run("train", "acme/mood", table, "--test", tmp_path / "test.csv", "--json")
    assert notices(result)["unknown_test_label"]["names"] == ["Yes"]


def test_no_examples_at_all_are_told_with_the_reasons(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    result = run("train", "acme/shapes", tmp_path)
    assert "no examples; 2 class folders left out without any file" in result.stderr


def test_the_same_input_twice_is_told_with_its_labels(
    run: Run, recorder: Recorder, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    rows = ["good,yes", "bad,no", "good,yes", "odd,yes", "odd,no", "odd,yes", "fine,yes", "ill,no"]
    table.write_text("text,label\n" + "\n".join(rows) + "\n")
    result = run("train", "acme/mood", table, "--json")
    assert result.exit_code == 0
    found = notices(result)
    assert (found["row_repeated"]["count"], found["row_repeated"]["names"]) == (1, ["good"])
    assert found["row_contradicted"]["names"] == ["odd (yes, then no, then yes)"]
    assert "1 input under more than one label, of which the last wins" in result.stderr
    assert recorder.examples[HEAD][text_digest("odd")] == "yes"
    assert set(notices(run("advise", table, "--json"))) == {"row_repeated", "row_contradicted"}


def test_the_same_picture_in_two_classes_is_told(run: Run, tmp_path: Path) -> None:
    root = tree(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    for name in ("a/3.png", "a/4.png", "b/5.png"):
        (root / name).write_bytes(b"the same" if name != "a/4.png" else b"the size")
    (root / "b" / "6.png").write_bytes((root / "b" / "1.png").read_bytes())
    found = notices(run("train", "acme/shapes", root, "--json"))
    assert found["row_contradicted"]["names"] == [f"{root / 'b/5.png'} (a, then b)"]
    assert found["row_repeated"]["names"] == [f"{root / 'b/6.png'} = {root / 'b/1.png'}"]


def test_a_class_with_one_example_is_named_before_anything_is_sent(
    run: Run, recorder: Recorder, tmp_path: Path
) -> None:
    files = [f"{label}/{number}.png" for label in ("seven", "eight") for number in range(4)]
    found = notices(run("train", "acme/shapes", tree(tmp_path, *files, "sevn/1.png"), "--json"))
    assert found["single_example"]["names"] == ["sevn (perhaps seven)"]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png"], "--test"),
        (["a/1.png", "a/2.png"], "two classes"),
        (["1.png"], "one per class"),
        (["a/1.heic", "b/1.heic"], ".heic"),
        (["data/a/1.png", "data/b/1.png"], "data"),
        ([], "no sub-folders"),
    ],
)
def test_a_folder_that_cannot_be_meant_makes_no_head(
    run: Run, recorder: Recorder, tmp_path: Path, files: list[str], said: str
) -> None:
    result = run("train", "acme/mood", tree(tmp_path, *files))
    assert result.exit_code == 1
    assert said in result.stderr.splitlines()[-1]
    assert recorder.heads == {}
    advised = run("advise", tmp_path)
    assert (advised.exit_code, said in advised.stderr) == (1, True)
    assert {name for name, _ in recorder.requests} <= {"GetHead"}


@pytest.mark.parametrize(
    ("rows", "test", "said"),
    [
        ("text,label\n", None, "no examples"),
        ("text,label\na,x\n", None, "two classes"),
        ("text,label\na,x\nb,\nc,\n", None, "found: x; 2 rows failed; the first, "),
        ("text,label\na,x\na,y\nb,x\nb,y\n", None, "found: y"),
        ("path,label\nnone.png,x\n", None, "No such file or directory"),
        ("text,label\nx\ny\n", None, "nothing in it can be read: 2 rows failed; the first, "),
        ("text,label\na,x\nb,y\n", "none.csv", "No such file"),
        ("text,label\na,x\nb,y\n", "images.csv", "images and texts"),
    ],
)
def test_what_needs_no_server_is_checked_before_it_is_asked(
    run: Run, recorder: Recorder, tmp_path: Path, rows: str, test: str | None, said: str
) -> None:
    (tmp_path / "t.csv").write_text(rows)
    (tmp_path / "images.csv").write_text("path,label\na.png,x\nb.png,y\n")
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    options = ["--test", tmp_path / test] if test else []
    result = run("train", "acme/mood", tmp_path / "t.csv", *options)
    assert (result.exit_code, said in result.stderr) == (1, True), result.stderr
    assert {name for name, _ in recorder.requests} <= {"GetHead"}


def test_one_class_is_enough_for_a_head_that_has_examples(
    run: Run, recorder: Recorder, table: Path, tmp_path: Path
) -> None:
    run("train", "acme/mood", table)
    more = tmp_path / "more.csv"
    more.write_text("text,label\ngreat,yes\nlovely,yes\n")
    assert run("train", "acme/mood", more).exit_code == 0
    assert len(recorder.examples[HEAD]) == 6


def test_stored_examples_that_the_data_lack_are_told_and_pruned(
    run: Run, recorder: Recorder, client: Client, tmp_path: Path
) -> None:
    head = "tenants/acme/heads/shapes"
    root = tree(tmp_path, *(f"{label}/{n}.png" for label in ("a", "b", "sevn") for n in "123"))
    run("train", "acme/shapes", root)
    client.add_examples("acme/shapes", [NewExample(Image(b"kept"), "a", held_out=True)])
    assert recorder.asked("ListExamples") == []
    gone = {image_digest(path.read_bytes()) for path in (root / "sevn").iterdir()}
    for path in (root / "sevn").iterdir():
        path.unlink()
    (root / "sevn").rmdir()
    result = run("train", "acme/shapes", root, "--json")
    found = notices(result)["not_in_data"]
    assert (found["count"], found["names"]) == (3, [f"sevn/{n}.png" for n in "123"])
    assert f"3 stored examples not in {root} (sevn 3)" in result.stderr
    assert "sevn/1.png, sevn/2.png, sevn/3.png" in result.stderr
    assert "--prune" in found["words"]
    assert len(recorder.examples[head]) == 10

    broken = tmp_path / "broken.csv"
    broken.write_text("path,label\na/1.png,a\nnone.png,b\nb/1.png,b\n")
    kept = run("train", "acme/shapes", broken, "--prune", "--yes", "--json")
    assert kept.exit_code == 1
    assert notices(kept)["not_pruned"]["count"] == 7
    assert len(recorder.examples[head]) == 10

    pruned = run("train", "acme/shapes", root, "--prune", "--yes", "--json")
    assert pruned.exit_code == 0, pruned.stderr
    assert notices(pruned)["pruned"]["count"] == 3
    assert not gone & set(recorder.examples[head])
    assert len(recorder.examples[head]) == 7


def test_stored_examples_are_pruned_when_it_is_meant(
    run: Run, recorder: Recorder, server: Server, table: Path
) -> None:
    run("train", "acme/mood", table)
    table.write_text("text,label\ngood,yes\nfine,yes\nbad,no\n")
    refused = run("train", "acme/mood", table, "--prune")
    assert refused.exit_code == 2
    assert "give --yes" in refused.stderr
    asked = f"Delete 1 stored example not in {table} (no 1)? [y/N]: "
    for answer, status, left in (("n", 1, 4), ("y", 0, 3)):
        with Terminal(server.address, "train", "acme/mood", table, "--prune") as terminal:
            terminal.expect(asked)
            terminal.press(f"{answer}\n")
            assert terminal.end()[0] == status
        assert len(recorder.examples["tenants/acme/heads/mood"]) == left


def test_names_that_are_told_are_as_many_as_are_counted(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("text,label\na, yes\nb, no\nc, yes\nd, no\ne, yes\n")
    told = run("train", "acme/mood", table).stderr.splitlines()[0]
    assert told == "2 labels changed: white space around them is gone: yes, no"


def test_a_class_whose_inputs_are_all_in_another_is_told(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("text,label\na,x\nb,x\nc,y\nd,y\na,y\nb,z\ne,z\n")
    found = notices(run("train", "acme/mood", table, "--json"))
    assert found["class_lost"]["names"] == ["x"]
    assert set(found) == {"row_contradicted", "class_lost"}


def test_every_failed_row_is_named_for_programs_too(
    run: Run, recorder: Recorder, tmp_path: Path
) -> None:
    rows = [f"text {number},{'yes' if number % 2 else 'no'}" for number in range(20)]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["text,label", *rows, *["bad"] * 12]))
    recorder.bad_digests.add(text_digest("text 3"))
    named = [f"{table}:5", *(f"{table}:{line}" for line in range(22, 34))]
    trained = json.loads(run("train", "acme/mood", table, "--json").stdout)
    assert [row["name"] for row in trained["upload"]["failures"]] == named
    advised = json.loads(run("advise", table, "--json").stdout)
    assert [row["name"] for row in advised["failures"]] == named
    texts = tmp_path / "texts.csv"
    texts.write_text("text\nnew\ntext 3\nbad,row\n")
    shown = json.loads(run("label", "acme/mood", texts, "--json", answers="q\n").stdout)
    assert [row["name"] for row in shown["failures"]] == [f"{texts}:3", f"{texts}:4"]


def test_a_head_is_not_made_for_inputs_of_which_none_can_be_read(
    run: Run, recorder: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "empty.csv").write_text("text,label\n")
    empty = run("label", "acme/mood", tmp_path / "empty.csv")
    assert (empty.exit_code, "no inputs" in empty.stderr) == (1, True)
    (tmp_path / "t.csv").write_text("path\nnone.png\ngone.png\n")
    result = run("label", "acme/mood", tmp_path / "t.csv")
    assert result.exit_code == 1
    assert f"2 rows failed; the first, {tmp_path / 't.csv'}:2: `path`: " in result.stderr
    assert recorder.requests == []


def test_a_class_named_almost_like_a_stored_one_is_told(run: Run, tmp_path: Path) -> None:
    tables = [tmp_path / "one.csv", tmp_path / "two.csv"]
    tables[0].write_text("text,label\na,cat\nb,cat\nc,dog\nd,dog\n")
    tables[1].write_text("text,label\ne,Cat\nf,Cat\ng,dog\nh,dog\n")
    assert notices(run("train", "acme/mood", tables[0], "--json")) == {}
    found = notices(run("train", "acme/mood", tables[1], "--json"))
    assert set(found) == {"not_in_data", "similar_labels"}
    assert found["similar_labels"]["names"] == ["Cat / cat"]


def test_control_characters_of_data_do_not_reach_the_terminal(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "t.jsonl"
    rows = [("\x1b[2Jgone", "x"), ("\x1b[2Jgone", "x"), ("b", "x"), ("c", "y"), ("d", "y")]
    table.write_text("\n".join(json.dumps({"text": text, "label": name}) for text, name in rows))
    result = run("train", "acme/mood", table)
    assert "1 row with an input that came before: \ufffd[2Jgone" in result.stderr
    assert "\x1b[2J" not in result.stderr
