"""`trunkline review`: captured inputs are shown, and people say what they are."""

from collections import Counter
from contextlib import nullcontext

import click

from trunkline.cli.connection import client_command, head_argument
from trunkline.cli.interrupts import if_interrupted
from trunkline.cli.labelling.answers import Answers
from trunkline.cli.labelling.questions import Command, Questions
from trunkline.cli.labelling.queue import Queue, Wanted
from trunkline.cli.labelling.session import Session
from trunkline.cli.labelling.viewer import Viewer
from trunkline.cli.next_step import next_step
from trunkline.cli.output import Output, named_failures
from trunkline.clients.client import Client
from trunkline.labels import visible
from trunkline.values.reviews import ReviewOrder


@click.command(short_help="Say what captured inputs are.")
@head_argument
@click.option(
    "--count",
    type=click.IntRange(min=1, max=1000),
    default=20,
    show_default=True,
    help="How many to ask about.",
)
@click.option(
    "--order",
    type=click.Choice(["newest", "least-sure"]),
    default="newest",
    show_default=True,
    help="Which come first.",
)
@click.option("--predicted", metavar="LABEL", help="Only what was taken for this.")
@click.option(
    "--random", "drawn", is_flag=True, help="Only what tells the accuracy: drawn at random."
)
@click.option("--open", "opened", is_flag=True, help="Open each in the system's viewer.")
@client_command
def review(
    client: Client,
    out: Output,
    head: str,
    count: int,
    order: str,
    predicted: str | None,
    drawn: bool,
    opened: bool,
) -> None:
    """Say what inputs are that a head has captured from its traffic.

    They are shown one by one, with what the head took them for. Answer with Enter if that is right,
    with a label or its number, with s to skip, with n for none of these, with j for junk, with b to
    take the answer before back, with q to quit. What is answered is learned at once. Others who
    review get other inputs. Exits 1 if an answer could not be stored.
    """
    chosen = ReviewOrder(order.replace("-", "_"))
    queue = Queue(Wanted(client, head, chosen, count, predicted, drawn))
    known = [row.label for row in client.labels(head)]
    questions = Questions(out, known, tuple(Command))
    answers = queue.answers = Answers(out, queue.name, queue.store)
    with Viewer(out) if opened else nullcontext() as viewer:
        session = Session(out, questions, queue, answers, viewer)
        if queue.items:
            session.ask_all()
        else:
            out.say("nothing waits for a review")
    _conclude(out, head, queue, session)
    if session.interrupt:
        with if_interrupted(lambda: "these answers are stored; the same command asks for others"):
            raise session.interrupt
    if session.failures:
        raise click.exceptions.Exit(1)
    if answers.given:
        next_step(out, "accuracy", head)


def _conclude(out: Output, head: str, queue: Queue, session: Session) -> None:
    """Prints what was said."""
    answers = session.answers
    labelled = answers.labelled
    taken = {key: next(iter(queue.reviews[key].answer), "") for key in labelled}
    right = sum(label == taken[key] for key, label in labelled.items())
    counts = {
        "confirmed": right,
        "corrected": len(labelled) - right,
        "skipped": answers.count(Command.SKIP),
        "none_of_these": answers.count(Command.NONE),
        "junk": answers.count(Command.JUNK),
    }
    corrected = Counter(
        f"{taken[key]} -> {label}" for key, label in labelled.items() if label != taken[key]
    )
    classes = ", ".join(f"{change} {number}" for change, number in corrected.most_common())
    words = ", ".join(
        f"{name.replace('_', ' ')} {number}"
        + (f" ({visible(classes)})" if name == "corrected" and classes else "")
        for name, number in counts.items()
    )
    if session.failures:
        words += f", failed {len(session.failures)}"
    judged = [
        {
            "id": key,
            "digest": queue.reviews[key].digest,
            "judgement": answer.words if isinstance(answer, Command) else "label",
            "label": answer if isinstance(answer, str) else None,
        }
        for key, answer in answers.given.items()
    ]
    document = {
        "head": head,
        **counts,
        "judged": judged,
        "failures": named_failures(session.failures),
    }
    out.result(document, words)
