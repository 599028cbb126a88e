import json
from pathlib import Path

import pytest

from tests.trunkline.recorded_heads import tuning
from tests.trunkline.recording import Recorder
from tests.trunkline.steps import Run
from trunkline.cli.trainings import phase_words
from trunkline.v1 import heads_pb2
from trunkline.values.outcomes import Training
from trunkline.wire.reading import read

HEAD = "tenants/acme/heads/mood"


@pytest.fixture
def tuned(run: Run, table: Path) -> Path:
    assert run("train", "acme/mood", table, "--fine-tune", "tail").exit_code == 0
    return table


def test_train_says_how_to_fine_tune_and_lets_a_new_head_keep_its_inputs(
    run: Run, recorder: Recorder, table: Path
) -> None:
    options = ["--epochs", 5, "--learning-rate", 0.001, "--rate-decay", 0.5, "--tune-views", 4]
    result = run("train", "acme/mood", table, "--fine-tune", "gradual", *options, "--json")
    assert result.exit_code == 0, result.stderr
    tune = recorder.asked("TrainHead")[0].spec.fine_tune
    assert (tune.strategy, tune.max_epochs, tune.learning_rate) == ("gradual", 5, 0.001)
    assert (tune.rate_decay, tune.views) == (0.5, 4)
    assert recorder.heads[HEAD].keep_inputs
    report = json.loads(result.stdout)["report"]
    assert report["fine_tuning"]["with_tail"]["accuracy"] == 0.9


@pytest.mark.parametrize(("options", "views"), [([], 3), (["--tune-views", 1], 1)])
def test_flips_are_all_three_unless_fewer_are_wanted(
    run: Run, recorder: Recorder, table: Path, options: list[object], views: int
) -> None:
    assert (
        run("train", "acme/mood", table, "--fine-tune", "tail", "--flips", *options).exit_code == 0
    )
    tune = recorder.asked("TrainHead")[0].spec.fine_tune
    assert (tune.views, tune.flips) == (views, True)
    assert f"flips {views}" in run("heads", "show", "acme/mood").stdout


@pytest.mark.parametrize(
    ("options", "views", "shown"),
    [
        ([], None, "views chosen"),
        (["--tune-views", "auto"], None, "views chosen"),
        (["--tune-views", 0], 0, "views 0"),
        (["--crops"], 3, "views 3"),
        (["--crops", "--tune-views", 5], 5, "views 5"),
    ],
)
def test_folds_choose_the_views_unless_they_are_named(
    run: Run,
    recorder: Recorder,
    table: Path,
    options: list[object],
    views: int | None,
    shown: str,
) -> None:
    assert run("train", "acme/mood", table, "--fine-tune", "tail", *options).exit_code == 0
    tune = recorder.asked("TrainHead")[0].spec.fine_tune
    assert (tune.views if tune.HasField("views") else None, tune.flips) == (views, False)
    assert shown in run("heads", "show", "acme/mood").stdout


def test_named_views_give_way_to_a_choice_again(run: Run, recorder: Recorder, table: Path) -> None:
    assert run("train", "acme/mood", table, "--fine-tune", "tail", "--flips").exit_code == 0
    assert run("heads", "update", "acme/mood", "--tune-views", "auto").exit_code == 0
    tune = recorder.asked("UpdateHead")[0].spec.fine_tune
    assert (tune.HasField("views"), tune.flips) == (False, False)


def test_a_head_takes_how_many_views_it_averages_over(
    run: Run, recorder: Recorder, table: Path
) -> None:
    """Of a new head it is made with, and of another it is changed at once, not by the training."""
    assert run("train", "acme/mood", table, "--average-views", 3).exit_code == 0
    assert recorder.asked("CreateHead")[0].spec.average_views == 3
    assert "averages over 3 views" in run("heads", "show", "acme/mood").stdout
    assert recorder.asked("UpdateHead") == []
    assert run("train", "acme/mood", table, "--average-views", 2).exit_code == 0
    assert recorder.asked("UpdateHead")[0].spec.average_views == 2
    assert recorder.asked("TrainHead")[1].spec.average_views == 2
    assert run("heads", "update", "acme/mood", "--average-views", 0).exit_code == 0
    off = recorder.asked("UpdateHead")[1].spec
    assert (off.HasField("average_views"), off.average_views) == (True, 0)


@pytest.mark.parametrize(("strategy", "warned"), [("full", True), ("tail", False)])
def test_tuning_the_whole_backbone_warns_of_its_cost(
    run: Run, table: Path, strategy: str, warned: bool
) -> None:
    result = run("train", "acme/mood", table, "--fine-tune", strategy)
    assert result.exit_code == 0
    assert ("shares no computation with others" in result.stderr) is warned


@pytest.mark.parametrize("strategy", [[], ["--fine-tune", "none"]])
def test_a_head_that_is_not_fine_tuned_keeps_no_inputs(
    run: Run, recorder: Recorder, table: Path, strategy: list[str]
) -> None:
    assert run("train", "acme/mood", table, *strategy).exit_code == 0
    assert not recorder.heads[HEAD].keep_inputs


def test_a_head_whose_inputs_are_not_kept_is_reported(run: Run, table: Path) -> None:
    run("train", "acme/mood", table)
    result = run("train", "acme/mood", table, "--fine-tune", "tail")
    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last == "error: its inputs are not kept (field keep_inputs, request req-1)"


def test_an_empty_head_that_is_to_be_fine_tuned_keeps_its_inputs(run: Run) -> None:
    options = ["--backbone", "minilm/l6-v2", "--fine-tune", "last_block", "--json"]
    made = json.loads(run("heads", "create", "acme/mood", *options).stdout)
    assert made["keep_inputs"]
    assert made["spec"]["fine_tune"]["strategy"] == "last_block"


def test_a_tail_is_exported_beside_its_head(run: Run, tuned: Path, tmp_path: Path) -> None:
    file, tail = tmp_path / "mood.safetensors", tmp_path / "tail.safetensors"
    result = run("heads", "export", "acme/mood", file, "--tail", tail, "--json")
    assert json.loads(result.stdout)["tail"] == str(tail)
    assert (file.read_bytes(), tail.read_bytes()) == (b"weights", b"blocks")
    assert "--tail FILE" in run("heads", "export", "acme/mood", file).stderr


def test_there_is_no_tail_to_export_of_a_head_on_the_frozen_backbone(
    run: Run, table: Path, tmp_path: Path
) -> None:
    assert run("train", "acme/mood", table).exit_code == 0
    result = run("heads", "export", "acme/mood", "--tail", tmp_path / "tail.safetensors")
    assert result.exit_code == 1
    assert "version 1 of acme/mood has no tail" in result.stderr
    assert not list(tmp_path.glob("tail*"))


def test_how_to_fine_tune_is_changed_and_taken_away(run: Run, tuned: Path) -> None:
    changed = json.loads(run("heads", "update", "acme/mood", "--epochs", 3, "--json").stdout)
    tune = changed["spec"]["fine_tune"]
    assert (tune["strategy"], tune["max_epochs"], tune["learning_rate"]) == ("tail", 3, 0.0008)
    shown = run("heads", "show", "acme/mood").stdout
    assert "fine-tuning tail (at most 3 epochs, rate 0.0008, decay 0.9, views chosen)" in shown
    gone = run("heads", "update", "acme/mood", "--fine-tune", "none", "--json")
    assert json.loads(gone.stdout)["spec"]["fine_tune"] is None


@pytest.mark.parametrize(
    "options",
    [
        ["--epochs", 3],
        ["--tune-views", 0],
        ["--flips"],
        ["--fine-tune", "none", "--learning-rate", 0.1],
        ["--fine-tune", "tail", "--epochs", 0],
        ["--fine-tune", "tail", "--rate-decay", 2],
        ["--fine-tune", "tail", "--tune-views", "some"],
        ["--fine-tune", "tail", "--tune-views", "auto", "--flips"],
    ],
)
def test_options_without_sense_are_usage_errors(
    run: Run, recorder: Recorder, table: Path, options: list[object]
) -> None:
    assert run("train", "acme/mood", table, *options).exit_code == 2
    assert recorder.asked("CreateHead") == []


def test_progress_shows_fold_epoch_loss_accuracy_and_what_is_left() -> None:
    message = heads_pb2.Training(state=heads_pb2.TRAINING_STATE_RUNNING, phase="fine-tuning")
    assert phase_words(read(Training, message)) == "fine-tuning"
    message.tuning.CopyFrom(tuning())
    words = "fold 2/5, epoch 3/12, loss 0.500, accuracy 87.5%, 0:01:34 left"
    assert phase_words(read(Training, message)) == words
    message.tuning.CopyFrom(tuning(fold=0, validation_loss=None, validation_accuracy=None))
    words = "all examples, epoch 3/12, loss 0.500, 0:01:34 left"
    assert phase_words(read(Training, message)) == words
    message.tuning.CopyFrom(tuning(views="flips"))
    assert phase_words(read(Training, message)).startswith("fold 2/5, flips, epoch 3/12")


def test_ctrl_c_leaves_the_training_running_and_says_what_can_be_done(
    run: Run, recorder: Recorder, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Training) -> str:
        raise KeyboardInterrupt  # as Python makes it of the signal

    monkeypatch.setattr("trunkline.cli.upload_steps.phase_words", interrupted)
    result = run("train", "acme/mood", table, "--fine-tune", "tail", "--json")
    assert result.exit_code == 130
    error = json.loads(result.stdout)["error"]
    assert (error["code"], "goes on; " in error["message"]) == ("CANCELLED", True)
    assert "to end it: trunkline train acme/mood; trunkline trainings show " in error["message"]
    assert "the training goes on;" in result.stderr
    assert "  trunkline train acme/mood\n" in result.stderr
    assert f"  trunkline trainings show {HEAD}/trainings/t1\n" in result.stderr
    assert f"  trunkline trainings cancel {HEAD}/trainings/t1\n" in result.stderr
    assert recorder.asked("CancelTraining") == []


def test_the_training_of_a_head_is_shown_and_cancelled(
    run: Run, recorder: Recorder, tuned: Path
) -> None:
    recorder.heads[HEAD].training = f"{HEAD}/trainings/t7"
    shown = json.loads(run("trainings", "show", "acme/mood", "--json").stdout)
    assert (shown["name"], shown["tuning"]["fold"]) == (f"{HEAD}/trainings/t7", 2)
    words = run("trainings", "show", "acme/mood").stdout
    assert "3 of 12" in words
    assert "87.5%" in words
    assert "0:01:34" in words
    assert "42 of at most 131" in words
    cancelled = json.loads(run("trainings", "cancel", "acme/mood", "--json").stdout)
    assert (cancelled["name"], cancelled["state"]) == (f"{HEAD}/trainings/t7", "cancelled")
    by_name = run("trainings", "cancel", f"{HEAD}/trainings/t3")
    assert by_name.exit_code == 0
    assert recorder.asked("CancelTraining")[1].name == f"{HEAD}/trainings/t3"


def test_trainings_that_run_are_listed(run: Run, recorder: Recorder, tuned: Path) -> None:
    assert json.loads(run("trainings", "list", "--json").stdout) == {"trainings": []}
    recorder.heads[HEAD].training = f"{HEAD}/trainings/t7"
    (found,) = json.loads(run("trainings", "list", "acme", "--json").stdout)["trainings"]
    assert (found["name"], found["tuning"]["fold"]) == (f"{HEAD}/trainings/t7", 2)
    _, row = run("trainings", "list").stdout.splitlines()
    assert row.startswith("acme/mood  ")
    assert "fold 2/5, epoch 3/12" in row
    assert json.loads(run("trainings", "list", "other", "--json").stdout) == {"trainings": []}


def test_a_head_without_a_training_is_reported(run: Run, tuned: Path) -> None:
    result = run("trainings", "show", "acme/mood")
    assert result.exit_code == 1
    assert result.stderr == "error: no training of acme/mood runs\n"
    assert run("trainings", "show", "a b").exit_code == 2
    assert run("trainings", "show", f"{HEAD}/trainings/").exit_code == 2


def test_predictions_are_averaged_over_views(run: Run, recorder: Recorder, tuned: Path) -> None:
    options = ["--text", "good", "--average-views", 4]
    assert run("predict", "acme/mood", *options).exit_code == 0
    assert run("predict", "acme/mood", "--text", "good").exit_code == 0
    assert run("predict", "acme/mood", "--text", "x", "--average-views", 0).exit_code == 0
    asked = [
        row.average_views if row.HasField("average_views") else None
        for row in recorder.asked("Predict")
    ]
    assert asked == [4, None, 0]
    assert run("predict", "acme/mood", "--text", "x", "--average-views", -1).exit_code == 2


def test_heads_and_versions_show_tails(run: Run, tuned: Path) -> None:
    run("train", "acme/mood", tuned, "--fine-tune", "none", "--no-activate")
    assert "tail, 4.2 MB: blocks.3, blocks.4" in run("heads", "show", "acme/mood").stdout
    shown = json.loads(run("heads", "show", "acme/mood", "--json").stdout)
    assert (shown["name"], shown["tail"]["size_bytes"]) == (HEAD, 4_200_000)
    listed = run("heads", "versions", "acme/mood").stdout
    assert [line.split()[-1] for line in listed.splitlines()] == ["tail", "-", "tail"]
    versions = json.loads(run("heads", "versions", "acme/mood", "--json").stdout)["versions"]
    assert [row["tail"] is None for row in versions] == [True, False]
    activated = json.loads(run("heads", "activate", "acme/mood", 2, "--json").stdout)
    assert activated["tail"] is None


def test_backbones_are_listed_loaded_and_unloaded(run: Run) -> None:
    listed = json.loads(run("backbones", "--json").stdout)
    assert listed == json.loads(run("backbones", "list", "--json").stdout)
    assert listed["backbones"][0]["tail_blocks"] == ["blocks.3", "blocks.4"]
    table = run("backbones").stdout
    assert "blocks.3" in table
    assert "tail blocks" in table
    loaded = run("backbones", "load", "torchvision/resnet18", "--json")
    assert json.loads(loaded.stdout)["name"] == "torchvision/resnet18"
    assert "torchvision/resnet18" in run("backbones", "load", "torchvision/resnet18").stdout
    left = run("backbones", "unload", "torchvision/resnet18", "--json")
    names = [row["name"] for row in json.loads(left.stdout)["backbones"]]
    assert names == ["efficientnet/lite0", "minilm/l6-v2"]
    again = run("backbones", "unload", "torchvision/resnet18")
    assert (again.exit_code, again.stdout) == (1, "")


def test_help_of_backbones_names_its_commands(run: Run) -> None:
    for word in ("-h", "--help"):
        words = run("backbones", word).stdout
        assert "unload" in words
    assert run("backbones", "drop").exit_code == 2


def test_a_report_says_what_fine_tuning_bought(run: Run, tuned: Path) -> None:
    words = run("report", "acme/mood").stdout
    assert "gradual, tail used: it is better" in words
    assert "85.0% (75.0% to 90.0%)" in words
    assert "75.25 s" in words
    assert "4.2 MB" in words
    assert "2, of 3.50 s each" in words
    assert "3 flips, chosen on the folds" in words
    assert "chosen: the log-loss is lower" in words
    assert "91.0% (81.0% to 96.0%)" in words
    assert "averaging over views" in words
