"""Reflection and health tell of every service, those of other protocols too."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.service.transport.grpc_serving import get_head, serving

INFERENCE = "inference.GRPCInferenceService"


@pytest.mark.parametrize(
    ("service", "method", "field"),
    [
        (INFERENCE, "ModelInfer", "raw_input_contents"),
        ("trunkline.v1.PredictionService", "Predict", "inputs"),
        ("grpc.health.v1.Health", "Check", "service"),
        ("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo", "list_services"),
    ],
)
async def test_generic_client_learns_every_service_and_its_messages(
    service: str, method: str, field: str
) -> None:
    def learn(address: str) -> tuple[set[str], Any]:
        with grpc.insecure_channel(address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            names = set(database.get_services())
            return names, DescriptorPool(database).FindServiceByName(service)

    async with serving(get_head) as address:
        names, described = await asyncio.to_thread(learn, address)
    assert service in names
    assert field in described.methods_by_name[method].input_type.fields_by_name


async def test_health_says_of_the_open_inference_protocol_what_it_says_of_predictions() -> None:
    async with (
        serving(get_head) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        listed = await stub.List(health_pb2.HealthListRequest())
        own = listed.statuses["trunkline.v1.PredictionService"]
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=INFERENCE))
    assert listed.statuses[INFERENCE] == reply == own
