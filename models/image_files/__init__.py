"""Image files: which format one has, and its pixels apart from its side notes.

What a file says beside its pixels (texts, profiles, previews, the camera's settings) must never
decide whether it can be read: decoders refuse a sound picture for a note that they dislike. So each
format's module takes out what the pixels need, and Pillow sees that alone. What the pixels need is
left as it is: damage there is Pillow's to find. `tests/models/test_image_damage.py` compares both.
"""

from models.image_files.formats import FORMATS, decode_ns, open_image
from models.image_files.parts import OpenedImage

__all__ = ["FORMATS", "OpenedImage", "decode_ns", "open_image"]
