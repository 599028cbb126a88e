"""A small real server that records what it is asked and answers from memory.

The client is under test, not the service: heads "train" by remembering labels, and the embedding of
an input is its digest's first four bytes.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tests.trunkline.recorded_admin import RecordedAdmin
from tests.trunkline.recorded_advice import RecordedAdvice
from tests.trunkline.recorded_examples import RecordedExamples
from tests.trunkline.recorded_heads import RecordedHeads
from tests.trunkline.recorded_keys import RecordedKeys
from tests.trunkline.recorded_labels import RecordedLabels
from tests.trunkline.recorded_predictions import RecordedPredictions
from tests.trunkline.recorded_reviews import RecordedReviews
from tests.trunkline.recorded_state import FINGERPRINT, digest_of, refuse
from tests.trunkline.recorded_tenants import RecordedTenants
from trunkline.v1 import (
    admin_pb2_grpc,
    advice_pb2_grpc,
    extraction_pb2_grpc,
    heads_pb2_grpc,
    keys_pb2_grpc,
    prediction_pb2_grpc,
    reviews_pb2_grpc,
    tenants_pb2_grpc,
)

__all__ = ["FINGERPRINT", "Recorder", "Server", "digest_of", "refuse"]


class Recorder(
    RecordedPredictions,
    RecordedExamples,
    RecordedHeads,
    RecordedLabels,
    RecordedKeys,
    RecordedTenants,
    RecordedReviews,
    RecordedAdmin,
    RecordedAdvice,
    admin_pb2_grpc.AdminServiceServicer,
    advice_pb2_grpc.AdviceServiceServicer,
    extraction_pb2_grpc.ExtractionServiceServicer,
    heads_pb2_grpc.HeadServiceServicer,
    keys_pb2_grpc.KeyServiceServicer,
    prediction_pb2_grpc.PredictionServiceServicer,
    reviews_pb2_grpc.ReviewServiceServicer,
    tenants_pb2_grpc.TenantServiceServicer,
):
    """All services that the client calls."""


class Server:
    """The recorder behind a port, which can be stopped and started again in the same place."""

    def __init__(self, recorder: Recorder, address: str) -> None:
        self.recorder = recorder
        self.address = address
        self.health = health.HealthServicer()
        self._server: grpc.Server | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        with self._lock:
            server = grpc.server(
                ThreadPoolExecutor(8),
                options=[
                    ("grpc.so_reuseport", 0),
                    ("grpc.max_receive_message_length", 64 * 2**20),
                ],
            )
            admin_pb2_grpc.add_AdminServiceServicer_to_server(self.recorder, server)
            advice_pb2_grpc.add_AdviceServiceServicer_to_server(self.recorder, server)
            heads_pb2_grpc.add_HeadServiceServicer_to_server(self.recorder, server)
            keys_pb2_grpc.add_KeyServiceServicer_to_server(self.recorder, server)
            tenants_pb2_grpc.add_TenantServiceServicer_to_server(self.recorder, server)
            extraction_pb2_grpc.add_ExtractionServiceServicer_to_server(self.recorder, server)
            prediction_pb2_grpc.add_PredictionServiceServicer_to_server(self.recorder, server)
            reviews_pb2_grpc.add_ReviewServiceServicer_to_server(self.recorder, server)
            health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
            self.health.set("", health_pb2.HealthCheckResponse.SERVING)
            port = server.add_insecure_port(self.address)
            if self.address.endswith(":0"):
                self.address = f"127.0.0.1:{port}"
            server.start()
            self._server = server

    def stop(self) -> None:
        with self._lock:
            if self._server:
                self._server.stop(None).wait()
                self._server = None
