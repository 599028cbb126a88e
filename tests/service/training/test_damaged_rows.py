"""Rows that are damaged cost what they belong to, and never the start of the server."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adapters import HeadSpec
from service.check import check_main
from service.errors import StoredDataDamaged
from tests.service.server import HEAD, LABELS, StartServer, best, texts
from trunkline.v1 import heads_pb2

OTHER = "tenants/other/heads"
SPEC = json.dumps(HeadSpec(family="ridge").to_json())
NO_UTF8 = "a text that is no UTF-8"

JOBS = {
    "cut": "{",
    "kind": '{"family": 3}',
    "list": "[1]",
    "field": '{"nothing": 1}',
    "bytes": NO_UTF8,
    "head": SPEC,
    "twice": SPEC,
}
"""Specs of waiting trainings, by their heads: all but the last two are damaged."""


def damage(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "trunkline.db")) as database:
        uids = dict(database.execute("SELECT name, uid FROM heads").fetchall())

        def wait(name: str, head_uid: str, spec: str) -> None:
            database.execute(
                "INSERT INTO jobs (id, head_uid, state, spec, version, error_code, error_message,"
                " created_at) VALUES (?, ?, 'queued', ?, 0, '', '', 0)",
                (name, head_uid, spec),
            )

        for name, spec in JOBS.items():
            wait(f"job-{name}", uids[name], spec)
        wait("job-twice-2", uids["twice"], SPEC)
        wait("job-orphan", "no such head", SPEC)
        wait("job-sound", uids["defects"], SPEC)
        database.execute(
            "UPDATE jobs SET spec = CAST(x'7bff7d' AS TEXT) WHERE spec = ?", (NO_UTF8,)
        )
        database.execute("UPDATE heads SET spec = '{' WHERE name = 'head'")
        database.execute("INSERT INTO members VALUES (?, 0, x'', x'')", (uids["taught"],))
        database.execute(
            "INSERT INTO feedback (head_uid, feedback_id, digest, label, active_version,"
            " created_at) VALUES (?, 'one', 'none', 'a label', 0, 0)",
            (uids["taught"],),
        )
        database.execute("UPDATE tenants SET name = CAST(x'ff' AS TEXT) WHERE name = 'broken'")
        database.commit()
    rows = folder / "activations" / ("0" * 64) / f"{uids['cut']}-cut"
    rows.mkdir(parents=True)
    (rows / "000000.safetensors").write_bytes(bytes([7, *bytes(7)]) + b'{"a":1}')
    (rows / "000001.safetensors").mkdir()
    (rows / "000002.safetensors.part").mkdir()


@pytest.mark.sqlite_file
async def test_server_starts_on_damaged_rows_and_serves_all_else(
    start_server: StartServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "damaged"
    async with start_server(data_dir=folder) as server:
        await server.create()
        await server.add(LABELS)
        for name in JOBS:
            await server.create(f"{OTHER}/{name}")
        await server.create("tenants/broken/heads/taught")
    damage(folder)
    capsys.readouterr()
    assert check_main(folder, as_json=True) == 1
    all_found = json.loads(capsys.readouterr().out)["findings"]

    def findings(check: str) -> list[dict[str, Any]]:
        return [found for found in all_found if found["check"] == check]

    specs = {(found["head"], found["words"].partition(" spec ")[0]) for found in findings("specs")}
    assert specs == {
        ("other/head", "its"),
        ("other/twice", "2 trainings wait, where one may"),
        *((f"other/{name}", "a waiting training's") for name in ("cut", "kind", "list", "field")),
        ("other/bytes", "a waiting training's"),
    }
    assert {found["words"] for found in findings("values")} == {
        "column spec of table jobs is not text in 1 rows",
        "column name of table tenants is not text in 1 rows",
    }
    assert any(
        "of jobs refers to one of heads" in found["words"] for found in findings("integrity")
    )

    async with start_server(data_dir=folder) as server:
        assert (await server.train()).name.endswith("/job-sound")
        assert len(best(await server.predict(*texts("new"), head=HEAD))) == 1

        async def states() -> dict[str, Any]:
            query = "SELECT id, state, error_message FROM jobs"
            rows = await server.application._database.read(lambda c: c.exec_driver_sql(query).all())
            return {row[0]: (row[1], row[2]) for row in rows}

        ended = await states()
        for name in ("cut", "kind", "list", "field", "bytes", "head", "orphan", "twice-2"):
            state, words = ended[f"job-{name}"]
            assert (name, state) == (name, "failed")
            assert words.startswith("training: ")
        assert ended["job-sound"][0] == "succeeded"
        request = heads_pb2.GetHeadRequest(name=f"{OTHER}/head")
        with pytest.raises(StoredDataDamaged, match=f"the stored spec of {OTHER}/head cannot be"):
            await server.ask("GetHead", request)
        named = heads_pb2.GetTrainingRequest(name=f"{OTHER}/cut/trainings/job-cut")
        with pytest.raises(StoredDataDamaged, match="what is stored of job-cut cannot be read"):
            await server.ask("GetTraining", named)
