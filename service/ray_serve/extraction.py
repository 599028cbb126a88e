"""The deployment: each replica is an extractor, behind Ray's proxy."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve.grpc_util import RayServegRPCContext

from service.application import ExtractorApplication
from service.config import StandaloneExtractorSettings, load_settings
from service.errors import InvalidSettings, ServiceError
from service.logs import configure_logging
from service.ray_serve.context import CallEnded, ReplicaContext
from service.ray_serve.proxying import unary_methods
from service.transport.grpc_arrival import Arrival, arrival_of_call, headers_of
from service.transport.grpc_calls import Translator
from service.transport.grpc_errors import refuse
from service.transport.limits import TransportLimits
from service.transport.methods import EXTRACTION, TAILS

ALL_INTERFACES = "::"
"""Where Ray's proxy listens, whatever is asked for."""

OF_OWN_PORTS = (
    "host", "port", "socket", "metrics_port", "tls_cert", "tls_key", "tls_client_ca",
)  # fmt: skip
"""Settings of ports that a replica does not have."""


class Packed(bytes):
    """A packed reply, which Ray packs."""

    def SerializeToString(self) -> bytes:
        return bytes(self)


class Extraction:
    """An extractor whose calls come by Ray's proxy.

    Settings of connections and calls, and of what a port may receive, have no effect: those are the
    proxy's.
    """

    async def __init__(self, settings: StandaloneExtractorSettings) -> None:  # type: ignore[misc]
        """Returns when the backbones are warm; Ray sends no calls before."""
        configure_logging(settings.log_level, settings.log_format)
        self._application = application = ExtractorApplication(settings)
        limits = TransportLimits.of(settings, settings.max_connections)
        translator = Translator(application.calls, limits, _no_stream)
        self._methods: dict[str, tuple[str, Any]] = {
            method.name: (
                method.path,
                translator.rpc(method, application.handlers[method.name]).unary_unary,
            )
            for service in (EXTRACTION, TAILS)
            for method in unary_methods(service)
        }
        await application.start()

    async def __del__(self) -> None:
        """Ends what is left. Ray waits for calls under way before, and calls this once."""
        await self._application.finish_requests()
        await self._application.close()

    async def check_health(self) -> None:
        """Tells Ray whether this replica should live on.

        Raises:
            RuntimeError: its backbones do not answer; Ray replaces it if that lasts.
        """
        if reasons := self._application.readiness.reasons:
            raise RuntimeError("; ".join(reasons))

    async def Embed(self, request: bytes, grpc_context: RayServegRPCContext) -> Packed:
        """Answers the RPC of this name, as do the methods below."""
        return await self._answer("Embed", request, grpc_context)

    async def ListBackbones(self, request: bytes, grpc_context: RayServegRPCContext) -> Packed:
        return await self._answer("ListBackbones", request, grpc_context)

    async def EmbedWithTail(self, request: bytes, grpc_context: RayServegRPCContext) -> Packed:
        return await self._answer("EmbedWithTail", request, grpc_context)

    async def ComputeActivations(self, request: bytes, grpc_context: RayServegRPCContext) -> Packed:
        return await self._answer("ComputeActivations", request, grpc_context)

    async def _answer(self, name: str, request: bytes, grpc_context: RayServegRPCContext) -> Packed:
        path, handler = self._methods[name]
        context: Any = ReplicaContext(grpc_context)
        try:
            try:
                headers = headers_of(context)
                caller = await self._application.authentication.caller(headers)
                arrival_of_call.set(Arrival(headers, caller))
            except ServiceError as error:
                await refuse(context, error, path, self._application.calls)
            return Packed(await handler(request, context))
        except CallEnded:
            return Packed()


async def _no_stream(*_: object) -> None:
    raise AssertionError("no method here streams")


def settings_of(values: dict[str, Any]) -> StandaloneExtractorSettings:
    """Reads settings by their names, before those of the environment and the file.

    Raises:
        InvalidSettings: one is wrong, or means a port that there is not. Without a shared key, the
            setting ``insecure`` must say that anybody is meant.
    """
    given = load_settings(StandaloneExtractorSettings, **values).model_fields_set
    for name in OF_OWN_PORTS:
        if name in given:
            raise InvalidSettings(
                f"{name}: must not be set: Ray's proxy listens, on all interfaces and in plain "
                "text, as its own configuration says",
                field=name,
            )
    return load_settings(StandaloneExtractorSettings, **values, host=ALL_INTERFACES)


def application(values: dict[str, Any]) -> serve.Application:
    """Builds the application of these settings, of which Ray's configuration says the rest.

    Raises:
        InvalidSettings: as `settings_of`.
    """
    deployment: Any = serve.deployment(
        Extraction, name="extraction", max_ongoing_requests=256, max_queued_requests=1024
    )
    bound: serve.Application = deployment.bind(settings_of(values))
    return bound
