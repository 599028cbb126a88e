"""The routes of all protocols beside the API's own."""

from __future__ import annotations

from starlette.routing import Route

from service.transport.backend import Backend
from service.transport.protocols.hugging_face import HuggingFace
from service.transport.protocols.label_studio.pictures import Pictures
from service.transport.protocols.label_studio.routes import LabelStudio
from service.transport.protocols.oip.rest import OpenInference
from service.transport.protocols.openai import OpenAI


def protocol_routes(backend: Backend, pictures: Pictures) -> list[Route]:
    """Returns the routes that other servers' clients ask.

    Args:
        pictures: fetches those that Label Studio names by address.
    """
    return [
        *OpenInference(backend).routes(),
        *OpenAI(backend).routes(),
        *HuggingFace(backend).routes(),
        *LabelStudio(backend, pictures).routes(),
    ]
