"""The client's calls about tenants."""

from datetime import UTC, datetime

import pytest

from tests.trunkline.recording import Recorder
from trunkline import Client, InvalidArgument, InvalidType, NotFound, Quotas

MADE = datetime.fromtimestamp(1_700_000_000, UTC)


def test_tenant_is_given_quotas_shown_listed_and_deleted(
    client: Client, recorder: Recorder
) -> None:
    changed = client.update_tenant("acme", Quotas(cost_per_second=2.5, examples=0))
    assert changed.own_quotas == Quotas(cost_per_second=2.5, examples=0)
    assert client.update_tenant("acme", defaults=["examples"]).quotas == Quotas(2.5)
    for name in ("b", "c"):
        client.update_tenant(name)
    assert [found.name for found in client.list_tenants()] == [
        *("tenants/acme", "tenants/b", "tenants/c")
    ]
    assert client.get_tenant("acme").create_time == MADE
    assert recorder.asked("UpdateTenant")[1].defaults == ["examples"]
    gone = client.delete_tenant("acme")
    assert (gone.tenant.name, gone.versions) == ("tenants/acme", 2)
    with pytest.raises(NotFound):
        client.get_tenant("acme")


def test_usage_is_that_of_one_tenant_or_of_all(client: Client, recorder: Recorder) -> None:
    client.update_tenant("acme")
    client.update_tenant("b")
    assert len(list(client.get_usage())) == 2
    (row,) = client.get_usage("acme", start=MADE)
    assert (row.hour, row.rows, row.cached_rows, row.cost) == (MADE, 3, 4, 2.5)
    assert recorder.asked("GetUsage")[1].start_time.seconds == 1_700_000_000


def test_what_is_no_quota_or_tenant_is_refused_here(client: Client) -> None:
    with pytest.raises(InvalidArgument, match="examples must be a whole number"):
        client.update_tenant("acme", Quotas(examples=-1))
    with pytest.raises(InvalidArgument):
        client.get_tenant("a b")
    with pytest.raises(InvalidType):
        list(client.get_usage("acme", start=1_700_000_000))  # type: ignore[arg-type]
