"""`trunkline audit`."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.trunkline.recording import Recorder
from tests.trunkline.steps import Run
from trunkline.v1 import admin_pb2


@pytest.fixture(autouse=True)
def audited(recorder: Recorder) -> None:
    for number in range(3):
        entry = admin_pb2.AuditEntry(
            key="keys/0123456789abcdef",
            tenant="tenants/acme",
            method="DeleteHead",
            resource=f"tenants/acme/heads/h{number}",
            outcome="PERMISSION_DENIED",
            transport="grpc",
            peer="10.0.0.7",
            dropped=number,
        )
        entry.time.FromSeconds(1_700_000_000)
        recorder.audited.append(entry)


def test_rows_are_shown_and_say_what_was_not_kept(run: Run) -> None:
    shown = " ".join(run("audit").stdout.split())
    for words in ("2023-11-14 22:13:20", "01234567", "DeleteHead", "acme/h0", "10.0.0.7"):
        assert words in shown
    assert "(+2" in shown
    assert len(json.loads(run("audit", "--json", "--limit", "2").stdout)["entries"]) == 2


def test_times_are_dates_or_how_long_ago(run: Run, recorder: Recorder) -> None:
    run("audit", "acme", "--since", "24h", "--until", "2026-11-30", "--method", "Predict")
    request = recorder.asked("ListAudit")[0]
    assert request.until == datetime(2026, 11, 30, tzinfo=UTC).timestamp()
    ago = datetime.now(UTC) - datetime.fromtimestamp(request.since, UTC)
    assert timedelta(hours=24) <= ago < timedelta(hours=25)


@pytest.mark.parametrize("options", [("--since", "soon"), ("--key", "a b"), ("a b",)])
def test_what_makes_no_sense_is_refused(
    run: Run, recorder: Recorder, options: tuple[str, ...]
) -> None:
    assert run("audit", *options).exit_code == 2
    assert not recorder.asked("ListAudit")
