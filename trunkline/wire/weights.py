"""What a safetensors file says of itself, read without any library."""

import json


def metadata(safetensors: bytes) -> dict[str, str]:
    """The file's metadata; none where it cannot be read: whoever needs the weights will say so."""
    length = int.from_bytes(safetensors[:8], "little")
    try:
        header = json.loads(safetensors[8 : 8 + length])
    except ValueError:
        return {}
    found = header.get("__metadata__") if isinstance(header, dict) else None
    return found if isinstance(found, dict) else {}
