"""Paths of other protocols, and the RPCs that answer them."""

from __future__ import annotations

import re
from typing import NamedTuple

from service.transport.foreign.names import head_in

LABEL_STUDIO = "/label-studio/"
"""Begins the paths that Label Studio asks, which shows its key as a password."""

OIP_HEALTH = ("/v2/health/live", "/v2/health/ready")
"""Probes, which show nothing and need no key."""

# A head before a backbone: so a tenant may be called "backbones".
_MODEL = r"(?P<model>[^/]+/[^/]+|backbones/[^/]+/[^/]+)"
_OIP = re.compile(
    rf"/v2/models/{_MODEL}(/versions/(?P<version>[^/]+))?(/(?P<asked>infer|ready|config))?"
)
_HUGGING_FACE = re.compile(rf"/hf/{_MODEL}")
_LABEL_STUDIO = re.compile(r"/label-studio/([^/]+)/([^/]+)/([^/]+)")
_OPENAI = re.compile(r"/v1/(embeddings|models(/.*)?)")
_OF_OIP = re.compile(r"/v2(/.*)?")


class ModelPath(NamedTuple):
    """A path below ``/v2/models``.

    Attributes:
        asked: "" for the model's metadata; else "infer", "ready" or "config".
    """

    model: str
    version: str
    asked: str


def model_path(path: str) -> ModelPath | None:
    """Reads a path of the Open Inference Protocol that names a model; None for another."""
    found = _OIP.fullmatch(path)
    return found and ModelPath(found["model"], found["version"] or "", found["asked"] or "")


def hugging_face_model(path: str) -> str:
    """Returns the model that a path of Hugging Face's names; "" for another path."""
    found = _HUGGING_FACE.fullmatch(path)
    return found["model"] if found else ""


def label_studio_head(path: str) -> str:
    """Returns the head that a path of Label Studio's names, unchecked; "" for another path."""
    found = _LABEL_STUDIO.fullmatch(path)
    return f"tenants/{found[1]}/heads/{found[2]}" if found else ""


def is_oip(path: str) -> bool:
    """Whether a path is of the Open Inference Protocol."""
    return _OF_OIP.fullmatch(path) is not None


def is_openai(path: str) -> bool:
    """Whether a path is of OpenAI's API."""
    return _OPENAI.fullmatch(path) is not None


def is_hugging_face(path: str) -> bool:
    """Whether a path is of Hugging Face's API."""
    return path.startswith("/hf/")


def takes(path: str, media_type: str) -> bool:
    """Whether a path takes a body of this kind, beside what all paths take."""
    if is_hugging_face(path):
        return media_type == "application/octet-stream" or media_type.startswith("image/")
    return is_oip(path) and media_type == "application/octet-stream"


def foreign_rpc_of(verb: str, path: str) -> tuple[str, str] | None:
    """Returns the RPC that answers a request, and the head in its path; None for what is ours.

    Requests that are refused before they are read are counted and noted so.
    """
    if (found := model_path(path)) is not None:
        inference = verb == "POST" and found.asked == "infer"
        return _of_model(found.model, "Predict" if inference else "GetHead")
    if verb == "POST" and (model := hugging_face_model(path)):
        return _of_model(model, "Predict")
    if head := label_studio_head(path):
        asked = path.rpartition("/")[2]
        return {"predict": "Predict", "webhook": "SendFeedback"}.get(asked, "GetHead"), head
    if is_openai(path):
        return ("Embed" if verb == "POST" else "ListBackbones"), ""
    return None


def _of_model(model: str, rpc: str) -> tuple[str, str]:
    if head := head_in(model):
        return rpc, head
    return ("Embed" if rpc == "Predict" else "ListBackbones"), ""
