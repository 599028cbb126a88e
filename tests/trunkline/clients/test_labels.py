"""The client's calls about labels, and what the command line asks before it deletes one."""

from pathlib import Path

import pytest

from tests.trunkline.recording import Recorder
from tests.trunkline.steps import Run
from trunkline import AlreadyExists, Client, LabelCount, TrainingState
from trunkline.v1 import heads_pb2


@pytest.fixture
def head(run: Run, table: Path) -> str:
    assert run("train", "acme/mood", table).exit_code == 0
    return "acme/mood"


def test_labels_are_counted(client: Client, head: str) -> None:
    assert client.labels(head) == (
        LabelCount("no", 2, 0, 0, active=True),
        LabelCount("yes", 2, 0, 0, active=True),
    )


def test_rename_gives_the_version_and_merging_the_training(client: Client, head: str) -> None:
    renamed = client.rename_label(head, "yes", "ja")
    assert (renamed.examples, renamed.feedback, renamed.training) == (2, 1, None)
    assert renamed.version is not None
    assert (renamed.version.source, renamed.version.labels) == ("rename", ("ja",))
    merged = client.merge_labels(head, ["no"], "ja")
    assert merged.training is not None
    assert (merged.training.state, merged.version) == (TrainingState.QUEUED, None)
    with pytest.raises(AlreadyExists):
        client.rename_label(head, "ja", "ja")


@pytest.mark.parametrize("deleted", [True, False])
def test_deletion_says_what_becomes_of_the_examples(
    client: Client, recorder: Recorder, head: str, deleted: bool
) -> None:
    changed = client.delete_label(head, "no", delete_examples=deleted)
    assert (changed.version, changed.training) == (None, None)
    (request,) = recorder.asked("DeleteLabel")
    keep, delete = heads_pb2.EXAMPLES_OF_LABEL_KEEP, heads_pb2.EXAMPLES_OF_LABEL_DELETE
    assert request.examples == (delete if deleted else keep)


def test_labels_are_described(client: Client, recorder: Recorder, head: str) -> None:
    found = client.describe_labels(head, {"yes": "agreement", "no": ""})
    assert dict(found.head.label_descriptions) == {"yes": "agreement", "no": ""}
    assert found.training is not None
    assert found.training.name.endswith("/trainings/t2")
    assert found.truncated == ("no",)
    (asked,) = recorder.asked("DescribeLabels")
    assert dict(asked.descriptions) == {"yes": "agreement", "no": ""}
