"""Stored examples that a folder or table no longer has."""

from collections import Counter

from trunkline.cli.naming import digest_of
from trunkline.cli.output import confirm
from trunkline.cli.reading import Data
from trunkline.clients.client import Client
from trunkline.datasets.labels import similar_labels
from trunkline.values.notices import Notice, notices_of
from trunkline.values.outcomes import Upload
from trunkline.wording import counted


def compare_with_stored(
    client: Client, head: str, data: Data, uploaded: Upload, *, prune: bool, yes: bool
) -> list[Notice]:
    """Says how many uploaded examples of the head are not in the data; with `prune` deletes them.

    That is asked about, unless `yes` says that it is meant.
    Feedback, held-out examples and those without a label are not meant. All examples are listed
    only where more are stored than the data have.
    """
    kept = len(data.examples) - len(data.overruled) - uploaded.failed
    if client.get_head(head).labelled_count <= kept:
        return []
    digests = {digest_of(item) for item, _ in data.pairs}
    others = [
        row
        for row in client.list_examples(head)
        if row.source == "upload" and row.label and not row.held_out and row.digest not in digests
    ]
    if not others:
        return []
    classes = Counter(row.label or "" for row in others)
    names = tuple(row.external_id or row.digest for row in others)
    by_class = ", ".join(f"{label} {count}" for label, count in classes.most_common())
    what = f"{counted(len(others), 'stored example')} not in {data.path} ({by_class})"
    if not prune:
        words = f"{what} trained on as well; --prune deletes them"
        notice = Notice("not_in_data", words, len(others), names)
        return [notice, *_similar_to_stored(data.labels, classes)]
    if None in digests:
        words = f"{what} not deleted, as rows that cannot be read may be among them"
        return [Notice("not_pruned", words, len(others), names)]
    confirm(f"Delete {what}?", yes=yes)
    deleted = client.delete_examples(head, [row.digest for row in others])
    return [Notice("pruned", f"{what} deleted", deleted.changed, names)]


def _similar_to_stored(labels: Counter[str], stored: Counter[str]) -> list[Notice]:
    """Says which classes of the data have almost the names of classes that it lacks."""
    own = similar_labels(labels)
    pairs = (pair for pair in similar_labels({*labels, *stored}) if pair not in own)
    words = "of classes with almost the same name, with stored examples"
    return notices_of("similar_labels", pairs, words, "pair")
