"""Tenants are bounded, counted and deleted over both transports."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import TEXTS
from tests.e2e.transports import Transport
from trunkline import Client, NotFound, ResourceExhausted
from trunkline.v1 import tenants_pb2


def test_tenant_is_given_a_quota_holds_it_and_is_deleted(
    transport: Transport, client: Client, tenant: str
) -> None:
    name = f"tenants/{tenant}"
    quotas = tenants_pb2.Quotas(examples=2, cost_per_second=1000)
    request = tenants_pb2.UpdateTenantRequest(name=name, quotas=quotas)
    assert transport.call("UpdateTenant", request).tenant.own_quotas == quotas
    client.create_head(f"{tenant}/mood", TEXTS)
    client.add_examples(f"{tenant}/mood", [("good", "a"), ("bad", "b")])
    with pytest.raises(ResourceExhausted, match="at most 2"):
        client.add_examples(f"{tenant}/mood", [("ugly", "b")])
    found = transport.call("GetTenant", tenants_pb2.GetTenantRequest(name=name)).tenant
    assert (found.heads, found.examples) == (1, 2)
    listed = transport.call("ListTenants", tenants_pb2.ListTenantsRequest(page_size=1000)).tenants
    assert found in listed
    since = tenants_pb2.GetUsageRequest(tenant=name)
    since.start_time.GetCurrentTime()
    assert not transport.call("GetUsage", since).usage
    gone = transport.call("DeleteTenant", tenants_pb2.DeleteTenantRequest(name=name))
    assert (gone.tenant, gone.embeddings) == (found, 2)
    with pytest.raises(NotFound):
        client.get_tenant(tenant)
