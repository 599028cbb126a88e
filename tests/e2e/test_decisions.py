"""Answers that may be accepted without a look, over both transports and in commands."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.e2e.conftest import TEXTS, Cli
from tests.e2e.learning import DIM, RIDGE, make_head, send_feedback, strangers
from tests.e2e.metrics import samples
from tests.e2e.samples import short_texts, vectors
from tests.e2e.transports import Refused, Transport, embedding
from trunkline import Backbone, Client, Decide, Decision
from trunkline.v1 import common_pb2, heads_pb2

WANTED = 0.9


@pytest.fixture
def fingerprint(backbones: dict[str, Backbone]) -> str:
    return backbones[TEXTS].fingerprint


def clear(fingerprint: str, count: int, seed: int = 5) -> list[tuple[common_pb2.Input, str]]:
    """Inputs that lie at the centre of their class."""
    return [(embedding(fingerprint, v), y) for v, y in vectors(count, DIM, seed, classes=3)]


def unclear(fingerprint: str, count: int, seed: int = 6) -> list[tuple[common_pb2.Input, str]]:
    """Inputs between two classes, with the label of either."""
    rng = np.random.default_rng(seed)
    rows = vectors(3 * count, DIM, seed, classes=3)
    return [
        (
            embedding(fingerprint, ((rows[3 * i][0] + rows[3 * i + 1][0]) / 2).astype(np.float32)),
            f"class-{rng.integers(2)}",
        )
        for i in range(count)
    ]


def deciding_head(way: Transport, tenant: str, fingerprint: str, **more: object) -> str:
    """A head that is right where it is sure, and has the rule."""
    head = make_head(way, tenant, fingerprint, rows=6, **more)  # type: ignore[arg-type]
    examples = [*clear(fingerprint, 240), *unclear(fingerprint, 80)]
    assert way.add(head, examples).added == 320
    way.call("TrainHead", heads_pb2.TrainHeadRequest(head=head))
    return head


def decisions(way: Transport, head: str, rows: list[common_pb2.Input], **more: int) -> list[str]:
    return [row.decision for row in way.predict(head, rows, **more).rows]


def described(way: Transport, head: str) -> heads_pb2.Head:
    found: heads_pb2.Head = way.call("GetHead", heads_pb2.GetHeadRequest(name=head)).head
    return found


def report_of(way: Transport, head: str, version: object = "active") -> heads_pb2.HeadReport:
    request = heads_pb2.GetHeadReportRequest(name=f"{head}/versions/{version}")
    found: heads_pb2.HeadReport = way.call("GetHeadReport", request).report
    return found


def want(way: Transport, head: str, precision: float, confidence: float = 0.0) -> heads_pb2.Head:
    rule = heads_pb2.Decide(precision=precision, confidence=confidence)
    request = heads_pb2.UpdateHeadRequest(name=head, decide=rule)
    found: heads_pb2.Head = way.call("UpdateHead", request).head
    return found


def test_sure_answers_are_accepted_and_others_are_for_review(
    transport: Transport, tenant: str, fingerprint: str, http: httpx.Client
) -> None:
    rule = heads_pb2.Decide(precision=WANTED)
    head = deciding_head(transport, tenant, fingerprint, decide=rule)
    sure = [item for item, _ in clear(fingerprint, 12, seed=50)]
    unsure = [item for item, _ in unclear(fingerprint, 12, seed=51)]
    found = decisions(transport, head, [*sure, *unsure])
    assert found[:12] == ["accept"] * 12
    assert found[12:].count("review") >= 5
    for decision in ("accept", "review"):
        counted = samples(http, "trunkline_decisions_total", tenant=tenant, decision=decision)
        assert counted == found.count(decision)

    decide = described(transport, head).decide
    assert (decide.precision, decide.confidence) == (WANTED, 0.95)
    acceptance = decide.acceptance
    assert (acceptance.version, acceptance.examples, acceptance.reason) == (2, 326, "")
    assert 0.5 < acceptance.share < 1
    assert acceptance.accepted == round(acceptance.share * 326)
    assert WANTED <= acceptance.precision_low <= acceptance.precision <= acceptance.precision_high

    curve = report_of(transport, head).decisions
    assert curve.decide == decide
    assert curve.examples == 326
    assert acceptance.threshold in [point.threshold for point in curve.points]
    shares = [point.share for point in curve.points]
    assert shares == sorted(shares)
    assert (shares[-1], curve.points[-1].threshold) == (1, 0)
    for point in curve.points:
        assert point.precision_low <= point.precision <= point.precision_high
    listing = heads_pb2.ListHeadsRequest(parent=f"tenants/{tenant}")
    assert [row.decide for row in transport.call("ListHeads", listing).heads] == [decide]


def test_a_changed_rule_holds_for_the_very_next_answer(
    transport: Transport, tenant: str, fingerprint: str
) -> None:
    head = deciding_head(transport, tenant, fingerprint)
    sure = [item for item, _ in clear(fingerprint, 3, seed=50)]
    assert not described(transport, head).HasField("decide")
    assert decisions(transport, head, sure) == [""] * 3
    assert want(transport, head, WANTED).decide.acceptance.HasField("threshold")
    assert decisions(transport, head, sure) == ["accept"] * 3
    strict = want(transport, head, 0.999, 0.99).decide
    assert not strict.acceptance.HasField("threshold")
    assert "at least" in strict.acceptance.reason
    assert decisions(transport, head, sure) == ["review"] * 3
    assert not want(transport, head, 0.0).HasField("decide")
    assert decisions(transport, head, sure) == [""] * 3
    assert not report_of(transport, head).decisions.HasField("decide")


def test_every_version_has_a_threshold_of_its_own(
    transport: Transport, tenant: str, fingerprint: str
) -> None:
    head = deciding_head(transport, tenant, fingerprint, decide=heads_pb2.Decide(precision=WANTED))
    sure = [item for item, _ in clear(fingerprint, 3, seed=50)]
    assert described(transport, head).decide.acceptance.version == 2
    assert decisions(transport, head, sure, version=1) == ["review"] * 3  # of six examples
    back = heads_pb2.ActivateHeadVersionRequest(name=f"{head}/versions/1")
    acceptance = transport.call("ActivateHeadVersion", back).head.decide.acceptance
    assert (acceptance.version, acceptance.HasField("threshold")) == (1, False)
    assert "held-out predictions" in acceptance.reason
    assert decisions(transport, head, sure) == ["review"] * 3

    export = heads_pb2.ExportHeadRequest(name=head, version=2)
    weights = transport.call("ExportHead", export).safetensors
    request = heads_pb2.ImportHeadRequest(
        parent=f"tenants/{tenant}",
        head_id="live",
        backbone=TEXTS,
        fingerprint=fingerprint,
        safetensors=weights,
    )
    acceptance = transport.call("ImportHead", request).head.decide.acceptance
    assert acceptance.version == 3
    assert "imported" in acceptance.reason
    assert decisions(transport, head, sure) == ["review"] * 3
    assert decisions(transport, head, sure, version=2) == ["accept"] * 3


def test_live_copy_keeps_the_threshold_of_its_version_but_not_for_what_only_it_knows(
    transport: Transport, tenant: str, fingerprint: str
) -> None:
    rule = heads_pb2.Decide(precision=WANTED)
    head = deciding_head(transport, tenant, fingerprint, decide=rule, allow_new_labels=True)
    new = strangers(fingerprint, 6)
    assert not send_feedback(transport, head, [(item, "new") for item in new[:5]]).errors
    sure = [item for item, _ in clear(fingerprint, 3, seed=50)]
    rows = transport.predict(head, [*sure, new[5]]).rows
    assert rows[3].label == "new"
    assert [row.decision for row in rows] == ["accept"] * 3 + ["review"]
    promoted = transport.call("PromoteLiveCopy", heads_pb2.PromoteLiveCopyRequest(head=head))
    acceptance = promoted.head.decide.acceptance
    assert (acceptance.version, acceptance.examples) == (3, 326)  # the five are one group
    assert acceptance.HasField("threshold")
    assert decisions(transport, head, sure) == ["accept"] * 3


def test_novel_rows_are_for_review(transport: Transport, tenant: str, fingerprint: str) -> None:
    spec = heads_pb2.HeadSpec(family="ridge", novelty=heads_pb2.Novelty(abstain=True))
    rule = heads_pb2.Decide(precision=0.5)
    head = deciding_head(transport, tenant, fingerprint, spec=spec, decide=rule)
    assert decisions(transport, head, strangers(fingerprint, 4)) == ["review"] * 4
    # The ordinary ones may be called novel now and then, too.
    sure = [item for item, _ in clear(fingerprint, 20, seed=50)]
    assert decisions(transport, head, sure).count("accept") >= 15


@pytest.mark.parametrize("field", ["precision", "confidence"])
@pytest.mark.parametrize("value", [0.3, 0.99999])
def test_rules_out_of_range_are_refused(
    transport: Transport, tenant: str, fingerprint: str, field: str, value: float
) -> None:
    rule = heads_pb2.Decide(**{"precision": 0.9, "confidence": 0.9, field: value})  # type: ignore[arg-type]
    parent = f"tenants/{tenant}"
    creation = heads_pb2.CreateHeadRequest(
        parent=parent, head_id="h", backbone=TEXTS, spec=RIDGE, decide=rule
    )
    with pytest.raises(Refused) as refused:
        transport.call("CreateHead", creation)
    assert refused.value.code == "INVALID_ARGUMENT"
    assert refused.value.field == f"decide.{field}"
    assert refused.value.limit == "from 0.5 to 0.9999"
    assert float(refused.value.value) == value


def test_commands_and_the_client_say_what_is_decided(
    client: Client, cli: Cli, tenant: str, tmp_path: Path
) -> None:
    short = f"{tenant}/h"
    made = cli("heads", "create", short, "--backbone", TEXTS, "--decide-precision", "0.6", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["decide"] == {
        "precision": 0.6,
        "confidence": 0.95,
        "acceptance": None,
    }
    table = tmp_path / "reviews.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *short_texts(40)])
    assert cli("train", short, table).returncode == 0
    shown = cli("heads", "show", short)
    assert "0.6 right of those accepted, at 0.95 confidence" in " ".join(shown.stdout.split())
    assert "held-out predictions" in " ".join(shown.stdout.split())

    text = "it was excellent, and all were wonderful"
    assert cli("predict", short, "--text", text).stdout.rstrip().endswith("\taccept")
    row = json.loads(cli("predict", short, "--text", text, "--json").stdout.splitlines()[0])
    assert row["decision"] == "accept"
    written = cli("predict", short, "--text", text, "--csv").stdout
    (record,) = csv.DictReader(io.StringIO(written))
    assert record["decision"] == "accept"
    (found,) = client.predict(short, [text])
    assert getattr(found, "decision", None) is Decision.ACCEPT

    page = tmp_path / "report.html"
    told = cli("report", short, "--html", page)
    assert "what could be accepted without a look" in told.stdout
    assert "What could be accepted without a look" in page.read_text()
    assert "By the head's rule" in client.export_head(short).model_card

    assert cli("heads", "update", short, "--decide-confidence", "0.9").returncode == 0
    decide = client.get_head(short).decide
    assert decide is not None
    assert (decide.precision, decide.confidence) == (0.6, 0.9)
    assert cli("heads", "update", short, "--decide-precision", "0").returncode == 0
    assert client.get_head(short).decide is None
    assert "decision" not in cli("predict", short, "--text", text, "--json").stdout
    assert client.update_head(short, decide=Decide(0.7, 0.8)).decide is not None
    failed = cli("heads", "update", short, "--decide-precision", "0.2")
    assert failed.returncode == 1
    assert "from 0.5 to 0.9999" in failed.stderr
