"""`trunkline tenants` and `usage`."""

import json

import pytest

from tests.trunkline.recording import Recorder
from tests.trunkline.steps import Run


def test_quotas_are_set_shown_and_the_default_again(run: Run, recorder: Recorder) -> None:
    done = run("tenants", "set", "acme", "--cost-per-second", "2.5", "--examples", "1000")
    assert "cost_per_second 2.5, examples 1,000" in done.stdout
    run("tenants", "set", "acme", "--examples", "default", "--rows-in-flight", "8")
    request = recorder.asked("UpdateTenant")[1]
    assert (list(request.defaults), request.quotas.rows_in_flight) == (["examples"], 8)
    shown = json.loads(run("tenants", "show", "acme", "--json").stdout)["tenant"]
    assert shown["own_quotas"]["examples"] is None
    assert "acme" in run("tenants", "list").stdout


def test_tenant_is_deleted_only_where_it_is_meant(run: Run, recorder: Recorder) -> None:
    run("tenants", "set", "acme", "--examples", "0")
    assert run("tenants", "delete", "acme").exit_code == 2
    assert not recorder.asked("DeleteTenant")
    assert "2 versions" in run("tenants", "delete", "acme", "--yes").stdout
    assert run("tenants", "show", "acme").exit_code == 1


def test_usage_is_a_table_of_hours(run: Run) -> None:
    run("tenants", "set", "acme", "--examples", "0")
    assert "2023-11-14 22:13" in run("usage").stdout
    assert json.loads(run("usage", "acme", "--json").stdout)["usage"][0]["cached_rows"] == 4


@pytest.mark.parametrize("options", [(), ("--examples", "many"), ("--cost-burst", "")])
def test_option_that_makes_no_sense_is_refused(
    run: Run, recorder: Recorder, options: tuple[str, ...]
) -> None:
    assert run("tenants", "set", "acme", *options).exit_code == 2
    assert not recorder.asked("UpdateTenant")
