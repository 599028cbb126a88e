import json
from pathlib import Path

import pytest

from tests.trunkline.recording import Recorder
from tests.trunkline.steps import Run
from trunkline.digest import text_digest

HEAD = "tenants/acme/heads/mood"


@pytest.fixture
def trained(run: Run, table: Path) -> Path:
    assert run("train", "acme/mood", table).exit_code == 0
    return table


def test_train_says_how_a_head_is_trained(run: Run, recorder: Recorder, table: Path) -> None:
    options = ["--front", "normalise", "--class-weight", "balanced", "--views", 4, "--noise", 0.2]
    result = run("train", "acme/mood", table, *options, "--abstain", "--novelty")
    assert result.exit_code == 0, result.stderr
    (request,) = recorder.asked("TrainHead")
    spec = request.spec
    assert (spec.front, spec.class_weight) == ("normalise", "balanced")
    assert (spec.augment.views, spec.augment.noise) == (4, 0.2)
    assert (spec.novelty.false_alarm_rate, spec.novelty.abstain) == (0.05, True)
    assert recorder.heads[HEAD].spec == spec


def test_options_change_a_heads_own_spec_and_leave_the_rest(
    run: Run, recorder: Recorder, table: Path
) -> None:
    run("train", "acme/mood", table, "--front", "projection", "--novelty=0.1", "--seed", 7)
    run("train", "acme/mood", table, "--abstain", "--class-weight", "balanced")
    spec = recorder.asked("TrainHead")[1].spec
    assert (spec.front, spec.seed, spec.class_weight) == ("projection", 7, "balanced")
    assert (spec.novelty.false_alarm_rate, spec.novelty.abstain) == (0.1, True)
    run("train", "acme/mood", table, "--novelty", 0, "--class-weight", "none")
    spec = recorder.asked("TrainHead")[2].spec
    assert not spec.HasField("novelty")
    assert spec.class_weight == ""


def test_train_sets_the_policy_of_a_new_head_and_changes_that_of_an_old_one(
    run: Run, recorder: Recorder, table: Path
) -> None:
    run("train", "acme/mood", table, "--policy", "immediate")
    assert json.loads(run("heads", "show", "acme/mood", "--json").stdout)["policy"] == "immediate"
    run("train", "acme/mood", table, "--policy", "immediate")
    assert recorder.asked("UpdateHead") == []
    run("train", "acme/mood", table, "--policy", "manual")
    assert json.loads(run("heads", "show", "acme/mood", "--json").stdout)["policy"] == "manual"


def test_the_test_set_is_held_out_unless_it_is_trained_on(
    run: Run, recorder: Recorder, table: Path, tmp_path: Path
) -> None:
    test = tmp_path / "test.csv"
    test.write_text("text,label\ngood,yes\nlovely,yes\n")
    result = run("train", "acme/mood", table, "--test", test, "--json")
    assert result.exit_code == 0, result.stderr
    assert f"1 of 2 test examples are trained on: {test}:2" in result.stderr
    held_out = {name for name, given in recorder.inputs.items() if given.held_out}
    assert held_out == {text_digest("lovely")}
    document = json.loads(result.stdout)
    assert document["test"] == {"rows": 2, "left_out": 1, "failed": 0, "accuracy": 1.0}
    (told,) = [row for row in document["notices"] if row["reason"] == "test_trained_on"]
    assert (told["count"], told["names"]) == (1, [f"{test}:2"])
    assert document["report"]["test"]["estimate"]["method"] == "held-out"


def test_predictions_show_their_sets(run: Run, trained: Path) -> None:
    texts = ["--text", "good", "--text", "bad"]
    result = run("predict", "acme/mood", *texts, "--level", 0.9, "--json")
    assert [json.loads(line)["set"] for line in result.stdout.splitlines()] == [["no"], []]
    words = run("predict", "acme/mood", *texts, "--level", 0.9).stdout
    assert words.splitlines() == ["good\tyes\t0.7500\t{no}", "bad\tno\t0.7500\t{}"]


def test_predictions_without_more_asked_for_show_no_more(run: Run, trained: Path) -> None:
    row = json.loads(run("predict", "acme/mood", "--text", "good", "--json").stdout)
    answer = {"label", "probability", "scores", "version", "live", "digest"}
    assert set(row) == {"text", "head", *answer}


@pytest.mark.parametrize("level", ["0", "1", "2"])
def test_a_level_that_is_no_probability_is_a_usage_error(run: Run, level: str) -> None:
    assert run("predict", "acme/mood", "--text", "x", "--level", level).exit_code == 2


def test_novelty_and_abstention_are_shown(run: Run, table: Path) -> None:
    run("train", "acme/mood", table, "--novelty")
    assert run("predict", "acme/mood", "--text", "new").stdout == "new\tno\t0.7500\tnovel (1.50)\n"
    assert run("predict", "acme/mood", "--text", "bad").stdout == "bad\tno\t0.7500\n"
    run("heads", "update", "acme/mood", "--abstain")
    assert run("predict", "acme/mood", "--text", "new").stdout == "new\t-\t-\tnovel (1.50)\n"
    row = json.loads(run("predict", "acme/mood", "--text", "new", "--json").stdout)
    assert (row["label"], row["abstained"], row["novel"], row["novelty"]) == (None, True, True, 1.5)


def test_feedback_shows_what_became_of_it(run: Run, trained: Path) -> None:
    words = run("feedback", "acme/mood", "--text", "good", "no").stdout
    assert "the live copy learns it (feedback so far: 1)" in words
    assert "it was right on 1 of 1, version 1 on 0" in words
    document = json.loads(run("feedback", "acme/mood", "--text", "bad", "yes", "--json").stdout)
    assert document["live"]["feedback_count"] == 2


def test_a_head_is_shown_with_its_live_copy_and_drift(run: Run, trained: Path) -> None:
    assert "idle" in run("heads", "show", "acme/mood").stdout
    run("feedback", "acme/mood", "--text", "good", "no")
    shown = run("heads", "show", "acme/mood").stdout
    assert "learning" in shown
    assert "2.5 (decides at 20)" in shown
    assert "detected at 2023-11-14 22:13:20 UTC" in shown
    live = json.loads(run("heads", "show", "acme/mood", "--json").stdout)["live"]
    assert (live["state"], live["drift"]["detected"]) == ("learning", True)


def test_a_head_is_updated(run: Run, recorder: Recorder, trained: Path) -> None:
    result = run("heads", "update", "acme/mood", "--policy", "manual", "--new-labels", "--json")
    head = json.loads(result.stdout)
    assert (head["policy"], head["allow_new_labels"]) == ("manual", True)
    assert not recorder.asked("UpdateHead")[0].HasField("spec")
    head = json.loads(run("heads", "update", "acme/mood", "--no-new-labels", "--json").stdout)
    assert (head["policy"], head["allow_new_labels"]) == ("manual", False)
    assert run("heads", "update", "acme/mood").exit_code == 2


def test_feedback_is_listed_dropped_released_and_promoted(run: Run, trained: Path) -> None:
    def states() -> list[str]:
        listed = json.loads(run("heads", "feedback", "list", "acme/mood", "--json").stdout)
        return [row["state"] for row in listed["feedback"]]

    for text in ("good", "fine", "bad"):
        run("feedback", "acme/mood", "--text", text, "no")
    assert states() == ["live"] * 3
    dropped = run("heads", "drop", "acme/mood", "--json")
    assert json.loads(dropped.stdout)["quarantined"] == 3
    assert states() == ["quarantined"] * 3
    held = ["heads", "feedback", "list", "acme/mood", "--state", "quarantined"]
    (first, *_) = json.loads(run(*held, "--json").stdout)["feedback"]
    assert first["id"] in run(*held).stdout
    released = run("heads", "feedback", "release", "acme/mood", first["id"], "none")
    assert released.exit_code == 1
    assert "failed: none: not in quarantine" in released.stderr
    assert states() == ["learned", "quarantined", "quarantined"]
    assert run("heads", "feedback", "release", "acme/mood", "--all").exit_code == 0
    run("feedback", "acme/mood", "--text", "good", "no")
    promoted = json.loads(run("heads", "promote", "acme/mood", "--json").stdout)
    assert promoted["version"]["source"] == "feedback"
    assert states() == ["learned"] * 4


@pytest.mark.parametrize("arguments", [[], ["some-id", "--all"]])
def test_what_to_release_is_said_in_one_way(run: Run, arguments: list[str]) -> None:
    assert run("heads", "feedback", "release", "acme/mood", *arguments).exit_code == 2


def test_examples_are_forgotten_by_digest_path_or_text(
    run: Run, recorder: Recorder, trained: Path, tmp_path: Path
) -> None:
    some = tmp_path / "some.csv"
    some.write_text("text\nbad\n")
    words = [text_digest("good").upper(), some, "--text", "fine"]
    result = run("forget", "acme/mood", *words, "--yes", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["forgotten"], document["deleted_versions"]) == (3, [1])
    assert set(recorder.examples[HEAD]) == {text_digest("awful")}
    again = run("forget", "acme/mood", "--text", "fine", "--yes")
    assert again.exit_code == 1
    assert "failed: fine: unknown" in again.stderr
    assert run("forget", "acme/mood").exit_code == 2


def test_a_head_is_exported_as_onnx_and_with_its_card(
    run: Run, trained: Path, tmp_path: Path
) -> None:
    onnx, card = tmp_path / "mood.onnx", tmp_path / "mood.md"
    result = run("heads", "export", "acme/mood", "--onnx", onnx, "--card", card, "--json")
    assert json.loads(result.stdout)["file"] is None
    assert (onnx.read_bytes(), card.read_text()) == (b"graph", "# mood")
    assert run("heads", "export", "acme/mood").exit_code == 2
