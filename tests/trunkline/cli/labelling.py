"""What became of texts that were labelled."""

from tests.trunkline.recording import Recorder
from trunkline.digest import text_digest

HEAD = "tenants/acme/heads/mood"


def labels(recorder: Recorder, texts: list[str], head: str = HEAD) -> list[str | None]:
    return [recorder.examples[head][text_digest(text)] for text in texts]
