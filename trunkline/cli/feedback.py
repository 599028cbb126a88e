"""`trunkline feedback`."""

import os

import click

from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.next_step import next_step
from trunkline.cli.output import Failure, Output, failure_words
from trunkline.clients.client import Client
from trunkline.values.heads import Head, LiveState
from trunkline.values.inputs import Image, Text
from trunkline.values.outcomes import RowFailure
from trunkline.values.upload_notices import truncated_notice


@click.command(short_help="Tell a head the right label of an input.")
@head_argument
@click.argument("words", nargs=-1, required=True, metavar="PATH|--text TEXT LABEL")
@click.option("--text", metavar="TEXT", help="The text, in place of the PATH of an image.")
@client_command
def feedback(
    client: Client, out: Output, head: str, words: tuple[str, ...], text: str | None
) -> None:
    """Tell a head the right label of an input: of the image in PATH, or of a text.

    It is stored durably; the head's policy decides what follows from it.
    """
    if len(words) != (2 if text is None else 1):
        raise click.UsageError("Give PATH LABEL, or --text TEXT LABEL.")
    label = words[-1]
    item = Image.open(words[0]) if text is None else Text(text)
    (outcome,) = client.feedback(head, [(item, label)])
    if isinstance(outcome, RowFailure):
        told = failure_words(outcome)
        if text is None:
            turned = not os.path.exists(words[0]) and os.path.exists(label)
            told = f"{words[0]}: {told}" + ("; PATH comes before LABEL" if turned else "")
        raise Failure(told, outcome.code)
    out.notices([truncated_notice(1)] if outcome.truncated else [])
    found = client.get_head(head)
    said = {"head": head, "label": label, "receipt": outcome, "live": found.live}
    before = f", in place of {outcome.previous_label}" if outcome.previous_label else ""
    stored = f"stored as {outcome.id}{before}\n{_consequence(found)}"
    out.result({**said, "notices": out.noticed}, stored)
    if found.live and found.live.state not in (LiveState.IDLE, LiveState.UNAVAILABLE):
        next_step(out, "heads", "show", head)
    else:
        next_step(out, "train", head)


def _consequence(head: Head) -> str:
    """Describes what becomes of feedback to this head."""
    live = head.live
    if live is None or live.state is LiveState.IDLE:
        return "the next training uses it"
    if live.state is LiveState.UNAVAILABLE:
        return f"the next training uses it; nothing learns at once: {live.reason}"
    if live.state is LiveState.SERVING:
        return f"the live copy, which serves, learns it (feedback so far: {live.feedback_count})"
    words = f"the live copy learns it (feedback so far: {live.feedback_count})"
    if live.scored:
        right = f"it was right on {live.live_right} of {live.scored}"
        words += f"; {right}, version {live.base_version} on {live.active_right}"
    return f"{words}; held back: {live.reason}" if live.state is LiveState.HELD_BACK else words
