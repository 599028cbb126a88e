"""Reports travel as JSON and mirror the wire."""

from __future__ import annotations

import dataclasses
import json

import pytest

import adapters
from adapters.report import (
    AugmentationReport,
    Candidate,
    ClassReport,
    Estimate,
    Evaluation,
    GroupReport,
    LearningPoint,
    LikelyMislabelled,
    NearDuplicates,
    NoveltyReport,
    ReliabilityBin,
    Report,
)
from adapters.spec import FAMILIES, Augmentation, HeadSpec, NoveltySpec
from tests.adapters.data import blobs, noisy
from trunkline.v1 import heads_pb2

ADDED_BY_THE_SERVICE = {
    "head",
    "version",
    "backbone",
    "train_seconds",
    "train_cpu_seconds",
    "test",
    "online",
    "truncated_count",
    "description_count",
    "seen_held_out",
    "seen_held_out_count",
    "seen_held_out_external_ids",
}
DIGESTS_FOR_ROWS = {"row": "digest", "other_row": "other_digest"}


def through_text(report: Report) -> Report:
    return Report.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False)))


@pytest.mark.parametrize("family", ["auto", *FAMILIES])
def test_report_survives_json(family: str) -> None:
    fitted = adapters.fit(*blobs(30, 8, 3), HeadSpec(family, seed=3), fingerprint="f00d")
    assert through_text(fitted.report) == fitted.report


def test_report_with_all_that_may_be_in_it_survives_json() -> None:
    embeddings, labels = noisy(120, 8, 3, distance=1.0)
    embeddings[1] = embeddings[0]
    spec = HeadSpec(
        "ridge",
        class_weights={"class 0": 2.0},
        augment=Augmentation(views=2),
        novelty=NoveltySpec(0.1, abstain=True),
    )
    report = adapters.diagnose(
        adapters.fit(embeddings, labels, spec, fingerprint="f00d"), embeddings, labels
    ).report
    assert all(
        [
            report.evaluation,
            report.learning_curve,
            report.likely_mislabelled,
            report.near_duplicates,
            report.augmentation,
            report.novelty,
        ]
    )
    assert through_text(report) == report


def test_report_without_estimate_survives_json() -> None:
    classes = (ClassReport("a", 0), ClassReport("b", 0))
    left_out = Candidate("logistic", None, None, False)
    report = Report("imported", HeadSpec(), "f00d", 0, classes, None, None, 1.0, (left_out,))
    assert through_text(report) == report


@pytest.mark.parametrize(
    ("ours", "wire", "added"),
    [
        (Estimate, heads_pb2.Estimate, set[str]()),
        (Candidate, heads_pb2.Candidate, set[str]()),
        (ClassReport, heads_pb2.ClassReport, set[str]()),
        (Evaluation, heads_pb2.Evaluation, set[str]()),
        (ReliabilityBin, heads_pb2.ReliabilityBin, set[str]()),
        (LearningPoint, heads_pb2.LearningPoint, set[str]()),
        (LikelyMislabelled, heads_pb2.LikelyMislabelled, {"external_id"}),
        (NearDuplicates, heads_pb2.NearDuplicates, {"external_id", "other_external_id"}),
        (AugmentationReport, heads_pb2.AugmentationReport, set[str]()),
        (GroupReport, heads_pb2.GroupReport, set[str]()),
        (NoveltyReport, heads_pb2.NoveltyReport, set[str]()),
        (Augmentation, heads_pb2.Augmentation, set[str]()),
        (NoveltySpec, heads_pb2.Novelty, set[str]()),
        (HeadSpec, heads_pb2.HeadSpec, set[str]()),
        (Report, heads_pb2.HeadReport, ADDED_BY_THE_SERVICE),
    ],
)
def test_fields_are_those_of_the_wire(ours: type, wire: type, added: set[str]) -> None:
    fields = {DIGESTS_FOR_ROWS.get(f.name, f.name) for f in dataclasses.fields(ours)}
    assert fields | added == set(wire.DESCRIPTOR.fields_by_name)  # type: ignore[attr-defined]


def test_auto_takes_the_candidate_with_the_lowest_log_loss() -> None:
    embeddings, labels = blobs(90, 12, 3)
    report = adapters.fit(embeddings, labels, fingerprint="f00d").report
    losses = {c.family: c.estimate.log_loss for c in report.candidates if c.estimate}
    assert set(losses) == set(FAMILIES)
    assert report.family == min(losses, key=lambda name: losses[name])
    assert [c.family for c in report.candidates if c.chosen] == [report.family]
    alone = adapters.fit(embeddings, labels, HeadSpec(report.family), fingerprint="f00d").report
    assert (alone.estimate, alone.l2) == (report.estimate, report.l2)


def test_auto_names_the_families_it_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters.training, "MAX_AUTO_COST", 1.0)
    report = adapters.fit(*blobs(60, 12, 3), fingerprint="f00d").report
    assert [c.family for c in report.candidates] == list(FAMILIES)
    assert [c.family for c in report.candidates if c.chosen] == [report.family] == ["prototype"]
    left_out = [c for c in report.candidates if not c.chosen]
    assert left_out == [Candidate(name, None, None, False) for name in FAMILIES[:3]]


def test_fixed_strength_is_used_by_all_candidates_that_have_one() -> None:
    report = adapters.fit(*blobs(30, 8, 3), HeadSpec(l2=3.0), fingerprint="f00d").report
    assert [c.l2 for c in report.candidates] == [3.0, 3.0, 3.0, None]
