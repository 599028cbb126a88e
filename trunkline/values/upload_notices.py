"""What a person is told about an upload: changes that it made or did not make, and what was cut."""

from collections.abc import Callable

from trunkline.values.notices import Notice
from trunkline.values.outcomes import ChangedRow, Upload, UploadChange

_WORDS = {
    UploadChange.LABEL_REPLACED: "label changed by this upload: {}",
    UploadChange.CORRECTION_REPLACED: "correction by feedback replaced by this upload: {}",
    UploadChange.CORRECTION_KEPT: (
        "label corrected by feedback since it was uploaded, the correction stands "
        "(--overwrite replaces it): {}"
    ),
    UploadChange.ROW_CONTRADICTED: "same input again with another label, the last one counts: {}",
    UploadChange.ROW_REPEATED: "same input again, stored once: {}",
    UploadChange.TRAINED_ON: "held out until now, trained on from now on: {}",
    UploadChange.HELD_OUT: "trained on until now, held out from now on: {}",
    UploadChange.WEIGHT: "weight changed by this upload: {}",
    UploadChange.GROUP: "group changed by this upload: {}",
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
            notices.append(Notice(change.value, words.format(count), count, names))
    if count := upload.truncated_count:
        words = f"texts longer than the backbone's window, whose ends have no part: {count}"
        notices.append(Notice("text_truncated", words, count, tuple(map(name, upload.truncated))))
    if broken := upload.interruptions:
        words = (
            f"the upload was interrupted and continued: {broken}; changes by rows that were stored "
            "before an interruption are not listed"
        )
        notices.append(Notice("upload_interrupted", words, broken))
    return notices


def _named(row: ChangedRow, name: str) -> str:
    return name if row.from_label is None else f"{name} ({row.from_label} -> {row.to_label})"
