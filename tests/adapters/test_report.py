"""Reports travel as JSON and mirror the wire."""

from __future__ import annotations

import dataclasses
import json

import pytest

import adapters
from adapters import Candidate, ClassReport, Estimate, HeadSpec, Report
from tests.adapters.data import blobs
from trunkline.v1 import heads_pb2

ADDED_BY_THE_SERVICE = {"head", "version", "backbone", "train_seconds"}


@pytest.mark.parametrize("family", ["auto", "ridge", "logistic"])
def test_report_survives_json(family: str) -> None:
    fitted = adapters.fit(*blobs(30, 8, 3), HeadSpec(family, seed=3), fingerprint="f00d")
    copy = Report.from_json(json.loads(json.dumps(fitted.report.to_json())))
    assert copy == fitted.report


def test_report_without_estimate_survives_json() -> None:
    classes = (ClassReport("a", 0), ClassReport("b", 0))
    left_out = Candidate("logistic", None, None, False)
    report = Report("imported", HeadSpec(), "f00d", 0, classes, None, None, 1.0, (left_out,))
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report


@pytest.mark.parametrize(
    ("ours", "wire", "added"),
    [
        (Estimate, heads_pb2.Estimate, set[str]()),
        (Candidate, heads_pb2.Candidate, set[str]()),
        (ClassReport, heads_pb2.ClassReport, set[str]()),
        (HeadSpec, heads_pb2.HeadSpec, set[str]()),
        (Report, heads_pb2.HeadReport, ADDED_BY_THE_SERVICE),
    ],
)
def test_fields_are_those_of_the_wire(ours: type, wire: type, added: set[str]) -> None:
    fields = {field.name for field in dataclasses.fields(ours)}
    assert fields | added == set(wire.DESCRIPTOR.fields_by_name)  # type: ignore[attr-defined]


def test_auto_takes_the_candidate_with_the_lowest_log_loss() -> None:
    embeddings, labels = blobs(90, 12, 3)
    report = adapters.fit(embeddings, labels, fingerprint="f00d").report
    losses = {c.family: c.estimate.log_loss for c in report.candidates if c.estimate}
    assert set(losses) == {"logistic", "ridge"}
    assert report.family == min(losses, key=lambda name: losses[name])
    assert [c.family for c in report.candidates if c.chosen] == [report.family]
    alone = adapters.fit(embeddings, labels, HeadSpec(report.family), fingerprint="f00d").report
    assert alone.estimate == report.estimate


def test_auto_names_the_family_it_left_out() -> None:
    embeddings, labels = blobs(3000, 64, 1000, distance=16.0)
    report = adapters.fit(embeddings, labels, fingerprint="f00d").report
    assert report.candidates[0] == Candidate("logistic", None, None, False)
    assert (report.family, report.candidates[1].chosen) == ("ridge", True)


def test_fixed_strength_is_used_by_all_candidates() -> None:
    report = adapters.fit(*blobs(30, 8, 3), HeadSpec(l2=3.0), fingerprint="f00d").report
    assert [c.l2 for c in report.candidates] == [3.0, 3.0]
