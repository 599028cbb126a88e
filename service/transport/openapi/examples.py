"""Bodies to begin with, by RPC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEXTS = ["a pleasure from start to end", "I want my money back"]

BODIES: Mapping[str, dict[str, Any]] = {
    "Embed": {"backbone": "minilm/l6-v2", "inputs": [{"text": text} for text in _TEXTS]},
    "Classify": {
        "backbone": "minilm/l6-v2",
        "examples": [
            {"input": {"text": text}, "label": label}
            for text, label in zip(_TEXTS, ("good", "bad"), strict=True)
        ],
        "inputs": [{"text": "never again"}],
    },
    "Predict": {"inputs": [{"text": text} for text in _TEXTS], "top_k": 2},
    "SendFeedback": {"feedback": [{"input": {"text": _TEXTS[0]}, "label": "good"}]},
    "CreateHead": {"head_id": "reviews", "backbone": "minilm/l6-v2", "keep_inputs": True},
    "UpdateHead": {"policy": "FEEDBACK_POLICY_GATED"},
    "AddExamples": {
        "examples": [
            {"input": {"text": text}, "label": label}
            for text, label in zip(_TEXTS, ("good", "bad"), strict=True)
        ]
    },
    "TrainHead": {},
    "Advise": {
        "examples": [
            {"input": {"text": text}, "label": label}
            for text, label in zip(_TEXTS, ("good", "bad"), strict=True)
        ]
    },
    "LoadBackbone": {"name": "minilm/l6-v2"},
    "UnloadBackbone": {"name": "minilm/l6-v2"},
}
