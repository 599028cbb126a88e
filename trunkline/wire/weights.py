"""The metadata of safetensors files, read without any library."""

import json


def metadata(safetensors: bytes) -> dict[str, str]:
    """Reads the file's metadata; empty where it cannot be read, which the server then reports."""
    length = int.from_bytes(safetensors[:8], "little")
    try:
        header = json.loads(safetensors[8 : 8 + length])
    except ValueError:
        return {}
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else {}
