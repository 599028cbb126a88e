"""Labels of versions in their normal form, whatever form they were stored in.

Versions never change, so those that were made before labels were normalised are read as they would
be made now. Labels of one version that become one keep the forms they have among its weights: its
head has a row for each. Their probabilities are added when it answers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from trunkline.labels import normalised


def read_json(text: str) -> Any:
    """Reads JSON as the store writes it, strings and keys in their normal form."""
    value = json.loads(text)
    return _normal(value) if "\\u" in text else value  # else it is ASCII


def with_normal_labels(safetensors: bytes) -> bytes:
    """Returns a head's file with its labels in their normal form; its tensors stay as they are."""
    length = int.from_bytes(safetensors[:8], "little")
    written = safetensors[8 : 8 + length]
    if written.isascii() and b"\\u" not in written:
        return safetensors
    header = json.loads(written)
    metadata = header["__metadata__"]
    labels = json.loads(metadata["labels"])
    forms = _forms(labels)
    metadata["labels"] = json.dumps([forms[label] for label in labels], ensure_ascii=False)
    if "class_weights" in metadata:
        weights = json.loads(metadata["class_weights"])
        weights = {forms.get(label, label): weight for label, weight in weights.items()}
        metadata["class_weights"] = json.dumps(weights, ensure_ascii=False)
    data = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    data += b" " * (-len(data) % 8)  # tensors begin at a multiple of 8 bytes
    return len(data).to_bytes(8, "little") + data + safetensors[8 + length :]


def _forms(labels: Sequence[str]) -> dict[str, str]:
    """Returns the form of each label; its own where another becomes the same."""
    count = Counter(map(normalised, labels))
    return {
        label: form if count[form] == 1 else label
        for label, form in zip(labels, map(normalised, labels), strict=True)
    }


def _normal(value: Any) -> Any:
    match value:
        case str():
            return normalised(value)
        case list():
            return [_normal(item) for item in value]
        case dict():
            return {_normal(key): _normal(item) for key, item in value.items()}
    return value
