"""What a person is told about an upload: changes that it made or did not make, and what was cut."""

from collections.abc import Callable

from trunkline.values.notices import Notice
from trunkline.values.outcomes import ChangedRow, Upload, UploadChange
from trunkline.wording import counted

_AGAIN = "with an input that came before"

_WORDS: dict[UploadChange, Callable[[int], str]] = {
    UploadChange.LABEL_REPLACED: lambda n: f"{counted(n, 'label')} changed by this upload",
    UploadChange.CORRECTION_REPLACED: lambda n: (
        f"{counted(n, 'correction')} by feedback replaced by this upload"
    ),
    UploadChange.CORRECTION_KEPT: lambda n: (
        f"{counted(n, 'label')} corrected by feedback since "
        + (
            "its upload stays so; --overwrite replaces it"
            if n == 1
            else "their upload stay so; --overwrite replaces them"
        )
    ),
    UploadChange.ROW_CONTRADICTED: lambda n: (
        f"{counted(n, 'row')} {_AGAIN} under another label, of which the last wins"
    ),
    UploadChange.ROW_REPEATED: lambda n: f"{counted(n, 'row')} {_AGAIN}",
    UploadChange.TRAINED_ON: lambda n: (
        f"{counted(n, 'example')} held out until now, trained on from now on"
    ),
    UploadChange.HELD_OUT: lambda n: (
        f"{counted(n, 'example')} trained on until now, held out from now on"
    ),
    UploadChange.WEIGHT: lambda n: f"{counted(n, 'weight')} changed by this upload",
    UploadChange.GROUP: lambda n: f"{counted(n, 'group')} changed by this upload",
    UploadChange.EXTERNAL_ID: lambda n: f"{counted(n, 'name')} changed by this upload",
    UploadChange.METADATA: lambda n: f"metadata of {counted(n, 'example')} changed by this upload",
}


def upload_notices(upload: Upload, name: Callable[[int], str]) -> list[Notice]:
    """Returns a notice for each kind of change by an upload, for truncated texts, and for breaks.

    Args:
        upload: what became of it.
        name: what a person calls the input of a row.
    """
    notices = []
    for change, words in _WORDS.items():
        if count := upload.change_counts.get(change, 0):
            rows = [row for row in upload.changes if row.change is change]
            names = tuple(_named(row, name(row.row)) for row in rows)
            notices.append(Notice(change.value, words(count), count, names))
    if count := upload.truncated_count:
        notices.append(truncated_notice(count, tuple(map(name, upload.truncated))))
    if broken := upload.interruptions:
        told = (
            f"the upload was interrupted {counted(broken, 'time')} and continued; changes by rows "
            "that were stored before an interruption are not listed"
        )
        notices.append(Notice("upload_interrupted", told, broken))
    return notices


def truncated_notice(count: int, names: tuple[str, ...] = ()) -> Notice:
    """Returns the notice of texts that the backbone does not take to their end."""
    texts = counted(count, "text")
    words = f"{texts} longer than the backbone's window, beyond which nothing counts"
    return Notice("text_truncated", words, count, names)


def _named(row: ChangedRow, name: str) -> str:
    return name if row.from_label is None else f"{name} ({row.from_label} -> {row.to_label})"
