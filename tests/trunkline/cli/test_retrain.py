import json
from pathlib import Path

import pytest

from tests.trunkline.recorded_state import backbone
from tests.trunkline.recording import FINGERPRINT, Recorder
from tests.trunkline.steps import Run

NEW = "cd" * 32


@pytest.fixture
def heads(run: Run, recorder: Recorder, table: Path) -> None:
    """a and b on texts, c on images; a and c keep their inputs. The texts' backbone changes."""
    for name, options in (("a", ["--keep-inputs"]), ("b", [])):
        assert run("train", f"acme/{name}", table, *options).exit_code == 0
    run("heads", "create", "acme/c", "--backbone", "efficientnet/lite0", "--keep-inputs")
    recorder.backbones["minilm/l6-v2"] = backbone("minilm/l6-v2", "text", NEW)


def test_heads_of_a_changed_backbone_are_trained_again(
    run: Run, recorder: Recorder, heads: None
) -> None:
    result = run("heads", "retrain", "acme", "--json")
    assert result.exit_code == 1
    first, second = json.loads(result.stdout)["heads"]
    assert (first["head"], first["backbone"], first["version"]) == ("acme/a", "minilm/l6-v2", 2)
    assert (first["estimate"]["accuracy"], first["error"]) == (0.9, None)
    assert (second["head"], second["version"], second["estimate"]) == ("acme/b", None, None)
    assert second["error"]["code"] == "FAILED_PRECONDITION"
    assert second["error"]["message"] == "its inputs are not kept"
    assert recorder.heads["tenants/acme/heads/a"].fingerprint == NEW
    assert recorder.heads["tenants/acme/heads/c"].fingerprint == FINGERPRINT


def test_a_table_shows_what_became_of_each_head(run: Run, heads: None) -> None:
    lines = run("heads", "retrain", "acme").stdout.splitlines()
    assert lines[0].split()[:3] == ["head", "backbone", "version"]
    assert lines[1].split()[:3] == ["acme/a", "minilm/l6-v2", "2"]
    assert "90.0% (80.0% to 95.0%)" in lines[1]
    assert "its inputs are not kept (field keep_inputs, request req-1)" in lines[2]


def test_one_head_is_trained_again_whether_it_needs_it_or_not(
    run: Run, recorder: Recorder, heads: None
) -> None:
    for _ in range(2):
        assert run("heads", "retrain", "acme/a").exit_code == 0
    assert [row.backbone for row in recorder.asked("TrainHead")[-2:]] == ["minilm/l6-v2"] * 2
    assert recorder.heads["tenants/acme/heads/a"].active_version == 3


def test_one_head_is_moved_to_another_backbone(run: Run, recorder: Recorder, heads: None) -> None:
    run("backbones", "load", "torchvision/resnet18")
    result = run("heads", "retrain", "tenants/acme/heads/a", "--backbone", "torchvision/resnet18")
    assert result.exit_code == 0, result.stderr
    assert recorder.heads["tenants/acme/heads/a"].backbone == "torchvision/resnet18"


def test_a_named_backbone_chooses_among_the_heads_of_a_tenant(
    run: Run, recorder: Recorder, heads: None
) -> None:
    image = "efficientnet/lite0"
    result = run("heads", "retrain", "tenants/acme", "--backbone", image, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"heads": []})
    assert "every head of acme is up to date" in result.stderr
    recorder.backbones[image] = backbone(image, "image", NEW)
    result = run("heads", "retrain", "acme", "--backbone", image, "--json")
    assert [row["head"] for row in json.loads(result.stdout)["heads"]] == ["acme/c"]


def test_a_backbone_that_is_not_loaded_is_an_error(
    run: Run, recorder: Recorder, heads: None
) -> None:
    result = run("heads", "retrain", "acme", "--backbone", "other/one")
    assert result.exit_code == 1
    expected = "field backbone, limit efficientnet/lite0, minilm/l6-v2, value other/one"
    assert expected in result.stderr
    run("backbones", "unload", "minilm/l6-v2")
    result = run("heads", "retrain", "acme", "--json")
    errors = [row["error"]["message"] for row in json.loads(result.stdout)["heads"]]
    assert errors == ["not loaded", "its inputs are not kept"]


def test_the_heads_of_a_tenant_that_has_none_are_up_to_date(run: Run) -> None:
    result = run("heads", "retrain", "nobody")
    assert (result.exit_code, result.stdout) == (0, "")
    assert run("heads", "retrain", "a b").exit_code == 2
