"""Examples are found by metadata, words and likeness on the command line."""

import json
from pathlib import Path

import pytest

from tests.trunkline.recording import Recorder
from tests.trunkline.steps import Run
from trunkline import Client, Digest, NewExample
from trunkline.digest import text_digest

HEAD = "acme/mood"


@pytest.fixture
def known(client: Client) -> dict[str, str]:
    """Digests of a head's examples by their texts."""
    client.create_head(HEAD, "minilm/l6-v2", keep_inputs=True)
    rows = [
        NewExample("good day", "yes", external_id="a/1", metadata={"site": "a", "shift": "1"}),
        NewExample("fine day", "yes", metadata={"site": "a"}),
        NewExample("bad night", "no", metadata={"site": "b"}),
        NewExample("who knows"),
    ]
    client.add_examples(HEAD, rows)
    return {str(row.input): text_digest(str(row.input)) for row in rows}


def found(run: Run, *arguments: object) -> list[str]:
    result = run("examples", "search", HEAD, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return [row["digest"] for row in json.loads(result.stdout)["examples"]]


def test_examples_are_searched(run: Run, known: dict[str, str]) -> None:
    good, fine, bad, _ = known.values()
    assert found(run, "--metadata", "site=a") == [good, fine]
    assert found(run, "--metadata", "site=a", "--metadata", "shift=1") == [good]
    assert found(run, "--text", "day", "--label", "yes") == [good, fine]
    assert found(run, "--name", "a/1") == [good]
    assert found(run, "--label", "no") == [bad]
    limited = run("examples", "search", HEAD, "--metadata", "site=a", "--limit", "1")
    assert "shift=1, site=a" in limited.stdout
    assert "there are more" in limited.stderr
    nothing = run("examples", "search", HEAD)
    assert (nothing.exit_code, "Give --text" in nothing.stderr) == (2, True)
    wrong = run("examples", "search", HEAD, "--metadata", "site")
    assert (wrong.exit_code, "is not KEY=VALUE" in wrong.stderr) == (2, True)
    twice = run("examples", "search", HEAD, "--metadata", "a=1", "--metadata", "a=2")
    assert (twice.exit_code, "a is given two values" in twice.stderr) == (2, True)


def test_metadata_is_listed_where_there_is_any(run: Run, known: dict[str, str]) -> None:
    assert "shift=1, site=a" in run("examples", "list", HEAD).stdout
    assert "metadata" not in run("examples", "list", HEAD, "--unlabelled").stdout


def test_similar_examples_are_listed_nearest_first(
    run: Run, recorder: Recorder, known: dict[str, str], tmp_path: Path
) -> None:
    shown = run("examples", "similar", HEAD, "a/1")
    assert shown.exit_code == 0, shown.stderr
    assert "0.5000" in shown.stdout
    assert "1 example not compared" in shown.stderr
    assert recorder.asked("FindSimilar")[-1].input.digest == known["good day"]
    document = json.loads(
        run("examples", "similar", HEAD, "--text", "new", "--unlabelled", "--json").stdout
    )
    assert [row["example"]["digest"] for row in document["similar"]] == list(known.values())
    file = tmp_path / "new.txt"
    file.write_text("from a file", encoding="utf-8")
    assert run("examples", "similar", HEAD, file, "--count", "1").exit_code == 0
    asked = recorder.asked("FindSimilar")[-1]
    assert (asked.input.text_utf8 or asked.input.text.encode(), asked.count) == (b"from a file", 1)
    several = run("examples", "similar", HEAD, "a/1", "--text", "x")
    assert (several.exit_code, "Give one DIGEST" in several.stderr) == (2, True)


def test_what_has_a_pair_is_deleted_or_forgotten(
    run: Run, recorder: Recorder, known: dict[str, str]
) -> None:
    stored = recorder.examples["tenants/acme/heads/mood"]
    assert run("examples", "delete", HEAD, "--metadata", "site=b", "--yes").exit_code == 0
    assert known["bad night"] not in stored
    result = run("forget", HEAD, "--metadata", "site=a", "--yes")
    assert (result.exit_code, "forgot 2 examples" in result.stdout) == (0, True), result.stderr
    assert list(stored) == [known["who knows"]]
    assert not recorder.asked("ForgetExamples")[-1].digests
    none = run("forget", HEAD, "--metadata", "site=a", "--yes")
    assert (none.exit_code, "no example with site=a" in none.stderr) == (1, True)
    both = run("forget", HEAD, "a/1", "--metadata", "site=a", "--yes")
    assert (both.exit_code, "Give --metadata, or" in both.stderr) == (2, True)


def test_columns_of_tables_become_metadata(run: Run, client: Client, tmp_path: Path) -> None:
    table = tmp_path / "mood.csv"
    rows = "good,yes,3,\nfine,yes, 4 ,b\nbad,no,,\nawful,no,3,a\n"
    table.write_text("text,label,Camera,site\n" + rows, encoding="utf-8")
    columns = ["--metadata-column", "Camera", "--metadata-column", "place=site"]
    trained = run("train", HEAD, table, *columns)
    assert trained.exit_code == 0, trained.stderr
    said = [dict(row.metadata) for row in client.list_examples(HEAD)]
    assert said == [
        {"Camera": "3"},
        {"Camera": "4", "place": "b"},
        {},
        {"Camera": "3", "place": "a"},
    ]
    lines = tmp_path / "more.jsonl"
    lines.write_text('{"text": "so so", "label": "no", "camera": 7}\n', encoding="utf-8")
    client.add_examples(HEAD, [])
    assert run("train", HEAD, lines, "--metadata-column", "camera").exit_code == 0
    assert dict(list(client.list_examples(HEAD))[-1].metadata) == {"camera": "7"}
    unknown = run("train", HEAD, table, "--metadata-column", "lens")
    assert unknown.exit_code == 1
    assert "expected a `lens` column" in unknown.stderr


def test_predictions_show_what_they_are_like(run: Run, client: Client, table: Path) -> None:
    assert run("train", HEAD, table).exit_code == 0
    shown = run("predict", HEAD, "--text", "good", "--neighbours", "2")
    assert "like " in shown.stdout
    assert "(0.5000, " in shown.stdout
    (line,) = run(
        "predict", HEAD, "--text", "good", "--neighbours", "2", "--json"
    ).stdout.splitlines()
    assert [one["similarity"] for one in json.loads(line)["neighbours"]] == [0.5, 0.5]
    csv = run("predict", HEAD, "--text", "good", "--neighbours", "2", "--csv")
    assert (csv.exit_code, "no room" in csv.stderr) == (2, True)


def test_clients_search_page_by_page(client: Client, known: dict[str, str]) -> None:
    everything = client.search_examples(HEAD, limit=None)
    assert [row.digest for row in everything.examples] == list(known.values())
    assert not everything.more
    some = client.search_examples(HEAD, limit=3)
    assert (len(some.examples), some.more) == (3, True)
    near = client.find_similar(HEAD, Digest(known["good day"]), 1)
    assert [row.example.digest for row in near.similar] == [known["fine day"]]
