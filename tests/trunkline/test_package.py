import json
import subprocess
import sys

import pytest

import trunkline
from trunkline import errors
from trunkline.errors import TrunklineError

FORBIDDEN = (
    "torch",
    "numpy",
    "safetensors",
    "scipy",
    "sklearn",
    "bentoml",
    "models",
    "adapters",
    "service",
)


def test_the_exported_names_are_these() -> None:
    clients = ["AsyncClient", "Client"]
    inputs = ["Digest", "Image", "Pixels", "Text", "Vector"]
    values = [
        "Acceptance",
        "Advice",
        "AuditEntry",
        "Augmentation",
        "AugmentationReport",
        "Backbone",
        "Candidate",
        "ChangedLabels",
        "ChangedRow",
        "Changes",
        "ClassReport",
        "Classification",
        "Decide",
        "Decision",
        "DecisionCurve",
        "DecisionPoint",
        "DeletedTenant",
        "DescribedLabels",
        "Drift",
        "Dropped",
        "Embedding",
        "Estimate",
        "Evaluation",
        "Example",
        "Export",
        "FeedbackRecord",
        "FeedbackState",
        "FineTune",
        "FineTuningReport",
        "Forgotten",
        "Head",
        "HeadLead",
        "HeadSpec",
        "Judged",
        "Judgement",
        "Key",
        "LabelCount",
        "LabelsNeeded",
        "LearningPoint",
        "LikelyMislabelled",
        "LiveCopy",
        "LiveState",
        "NearDuplicates",
        "NewExample",
        "NewKey",
        "Novelty",
        "NoveltyReport",
        "OnlineAccuracy",
        "Option",
        "Policy",
        "Prediction",
        "Promoted",
        "Quotas",
        "Receipt",
        "ReliabilityBin",
        "Report",
        "Review",
        "ReviewOrder",
        "ReviewState",
        "Role",
        "RowFailure",
        "ServedAccuracy",
        "ServedClass",
        "ServedPeriod",
        "ServedReport",
        "Suggestion",
        "Suggestions",
        "Tail",
        "Tenant",
        "Training",
        "TrainingState",
        "TuningEpoch",
        "TuningProgress",
        "Upload",
        "UploadChange",
        "UploadProgress",
        "Usage",
        "Verdict",
        "Version",
        "WhoAmI",
    ]
    tree = [
        "Aborted",
        "AlreadyExists",
        "Cancelled",
        "DataLoss",
        "DatasetError",
        "DeadlineExceeded",
        "FailedPrecondition",
        "Internal",
        "InvalidArgument",
        "InvalidType",
        "NotFound",
        "OutOfRange",
        "PermissionDenied",
        "ResourceExhausted",
        "TrunklineError",
        "Unauthenticated",
        "Unavailable",
        "Unimplemented",
        "Unknown",
    ]
    assert sorted(trunkline.__all__) == sorted(clients + inputs + values + tree)
    assert all(hasattr(trunkline, name) for name in trunkline.__all__)


@pytest.mark.parametrize(
    "module",
    [
        "trunkline",
        "trunkline.cli",
        "trunkline.datasets",
        "trunkline.html_report",
        "trunkline.sklearn",
    ],
)
def test_importing_the_client_imports_nothing_of_the_server(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    roots = {name.partition(".")[0] for name in json.loads(shown.stdout)}
    assert roots.isdisjoint(FORBIDDEN)


def test_every_error_is_drawn_in_the_tree_and_has_a_code_of_its_own() -> None:
    classes = [row for row in vars(errors).values() if isinstance(row, type)]
    tree = [row for row in classes if issubclass(row, TrunklineError)]
    assert len(tree) == 19
    assert all(row.__name__ in (errors.__doc__ or "") for row in tree)
    assert len(errors.BY_CODE) == 16
