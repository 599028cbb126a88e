"""The audit log takes what was changed and refused, and stops nobody where it cannot."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

from service.access.audit import BURST, DAY, Audit, safe_name
from service.access.audit_file import AuditFile
from service.concurrency.tasks import UninterruptedTasks
from service.errors import StartupError
from service.metrics import Metrics
from service.store import Database
from service.store.audit import AuditRow, add_audit_rows, list_audit_rows
from service.store.heads import delete_head
from tests.service.disk_limits import files_up_to
from tests.service.store.records import MANY, add_examples, example, new_head

NOW = 1_700_000_000.0
ROW = AuditRow(
    NOW, "k", "acme", "DeleteHead", "tenants/acme/heads/x", "OK", "r", "grpc", "127.0.0.1"
)
REFUSED = replace(ROW, key="", tenant="", outcome="UNAUTHENTICATED")


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


class Log:
    """An audit log, its parts, and what the store has of it."""

    def __init__(self, database: Database, file: AuditFile | None = None) -> None:
        self.database, self.metrics, self.clock = database, Metrics(1), Clock()
        self.tasks = UninterruptedTasks()
        self.audit = Audit(
            database,
            self.tasks,
            self.metrics,
            wanted=lambda: True,
            retention_days=90,
            file=file,
            clock=self.clock,
        )

    async def rows(self) -> list[AuditRow]:
        """All rows, oldest first, once nothing is under way."""
        await self.tasks.close()
        found = await self.database.read(list_audit_rows, tenant=None, limit=MANY)
        return [stored.row for stored in reversed(found)]

    def lost(self, reason: str) -> float | None:
        name = "trunkline_audit_lost_total"
        return self.metrics.registry.get_sample_value(name, {"reason": reason})


@pytest.fixture
async def log(database: Database) -> AsyncIterator[Log]:
    made = Log(database)
    yield made
    made.audit.close()
    await made.tasks.close()


async def test_row_is_in_the_store_when_it_is_noted(log: Log) -> None:
    await log.audit.note(ROW)
    found = await log.database.read(list_audit_rows, tenant=None, limit=9)
    assert [stored.row for stored in found] == [ROW]


async def test_row_is_kept_though_whoever_waits_for_it_leaves(log: Log) -> None:
    waiting = asyncio.create_task(log.audit.note(ROW))
    await asyncio.sleep(0)
    waiting.cancel()
    assert await log.rows() == [ROW]


async def test_refusals_beyond_the_allowance_are_counted_and_the_next_row_says_how_many(
    log: Log,
) -> None:
    for _ in range(int(BURST) + 5):
        log.audit.note_refusal(REFUSED)
    assert len(await log.rows()) == BURST
    assert log.lost("rate") == 5
    log.clock.now += 2
    log.audit.note_refusal(REFUSED)
    assert (await log.rows())[-1].dropped == 5
    log.audit.note_refusal(REFUSED)
    assert (await log.rows())[-1].dropped == 0


async def test_flood_of_one_source_hides_nothing_of_another(log: Log) -> None:
    for _ in range(int(BURST) * 2):
        log.audit.note_refusal(REFUSED)
    other = replace(ROW, outcome="PERMISSION_DENIED")
    log.audit.note_refusal(other)
    await log.audit.note(ROW)
    assert {row.outcome for row in await log.rows()} == {
        *("OK", "PERMISSION_DENIED", "UNAUTHENTICATED")
    }


async def test_old_rows_go_at_the_start_in_small_steps(log: Log) -> None:
    old = replace(ROW, at=NOW - 90 * DAY - 1)
    await log.database.write(add_audit_rows, [old] * 2500)
    await log.database.write(add_audit_rows, [replace(ROW, at=NOW - 90 * DAY + 1)])
    with capture_logs() as events:
        log.audit.start()
        assert len(await log.rows()) == 1
    assert [event["rows"] for event in events if "rows" in event] == [2500]


@pytest.mark.sqlite_file
async def test_row_that_finds_no_room_is_counted_and_logged_and_stops_nobody(log: Log) -> None:
    def freeze(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    await log.database.write(freeze)
    with capture_logs() as events:
        for number in range(40):
            await log.audit.note(replace(ROW, request_id=f"{number}", resource="x" * 3000))
    lost = log.lost("store")
    assert lost
    assert len(await log.rows()) == 40 - lost
    told = [event for event in events if event["event"] == "audit row not stored"]
    assert len(told) == lost
    assert told[0]["method"] == "DeleteHead"


@pytest.mark.sqlite_file
async def test_deletion_on_a_full_disk_makes_room_for_its_row(log: Log) -> None:
    head = await log.database.write(new_head)
    await log.database.write(add_examples, head.uid, *(example(f"{i}", "a") for i in range(500)))

    def freeze(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    await log.database.write(freeze)
    for _ in range(100):
        await log.audit.note(replace(ROW, method="Other", resource="x" * 3000))
    assert log.lost("store")
    await log.database.write(delete_head, "acme", "defects")
    await log.audit.note(ROW)
    assert (await log.rows())[-1] == ROW


def lines_of(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(1)


Open = Callable[[Path], AuditFile]


@pytest.fixture
def opened(metrics: Metrics) -> Open:
    return lambda path: AuditFile(path, metrics)


def test_file_has_one_line_a_row_and_is_its_owners_alone(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.touch(mode=0o644)
    file = opened(path)
    file.add([ROW, REFUSED])
    file.close()
    first, second = lines_of(path)
    assert first["time"] == "2023-11-14T22:13:20.000+00:00"
    assert (first["key"], first["method"], second["outcome"]) == (
        *("k", "DeleteHead"),
        "UNAUTHENTICATED",
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_that_was_moved_away_is_made_anew(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    file = opened(path)
    path.rename(tmp_path / "audit.1")
    file.add([ROW])
    file.close()
    assert len(lines_of(path)) == 1
    assert (tmp_path / "audit.1").read_text() == ""


def test_full_disk_leaves_no_half_line_and_the_rows_are_counted(
    opened: Open, metrics: Metrics, tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    file = opened(path)
    with files_up_to(300):
        for _ in range(3):
            file.add([ROW])
        file.close()
    assert len(lines_of(path)) == 1
    lost = metrics.registry.get_sample_value("trunkline_audit_lost_total", {"reason": "file"})
    assert lost == 2


def test_file_that_is_something_else_is_left_alone(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "trunkline.db"
    path.write_bytes(b"SQLite format 3")
    with pytest.raises(StartupError, match="no audit log"):
        opened(path)
    assert path.read_bytes() == b"SQLite format 3"


def test_pipe_that_nobody_reads_does_not_hang_the_server(tmp_path: Path, opened: Open) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StartupError, match="audit_file"):
        opened(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("tenants/acme/heads/x", "tenants/acme/heads/x"),
        ("efficientnet/lite0", "efficientnet/lite0"),
        ("a text of somebody", ""),
        ("secret", ""),
        ("tenants/acme/heads/x y", ""),
        ("tenants/a\nb", ""),
        ("tenants/" + "a/" * 200 + "b", ""),
        ("keys/tlk_0123456789abcdefghij", "keys/tlk_…"),
    ],
)
def test_what_is_no_name_is_not_kept(text: str, kept: str) -> None:
    assert safe_name(text) == kept
