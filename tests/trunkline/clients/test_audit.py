"""The client's call about the audit log."""

from datetime import UTC, datetime

import pytest

from tests.trunkline.recording import Recorder
from trunkline import Client, InvalidArgument
from trunkline.v1 import admin_pb2

WHEN = datetime(2026, 11, 30, tzinfo=UTC)


def test_rows_come_page_by_page_as_values(client: Client, recorder: Recorder) -> None:
    for number in range(recorder.page + 1):
        entry = admin_pb2.AuditEntry(
            key="keys/k1", method="DeleteHead", outcome="OK", dropped=number
        )
        entry.time.FromDatetime(WHEN)
        recorder.audited.append(entry)
    entries = list(client.audit())
    assert [entry.dropped for entry in entries] == list(range(recorder.page + 1))
    assert (entries[0].time, entries[0].key) == (WHEN, "keys/k1")


def test_what_is_asked_for_is_sent(client: Client, recorder: Recorder) -> None:
    assert list(client.audit("acme", since=WHEN, until=1e9, key="k1", method="Predict")) == []
    (request,) = recorder.asked("ListAudit")
    assert (request.tenant, request.key, request.method) == ("tenants/acme", "keys/k1", "Predict")
    assert (request.since, request.until) == (WHEN.timestamp(), 1e9)


def test_what_is_no_key_is_refused_here(client: Client) -> None:
    with pytest.raises(InvalidArgument):
        list(client.audit(key="heads/x"))
