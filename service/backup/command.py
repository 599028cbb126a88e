"""What ``trunkline backup`` and ``trunkline restore`` print, and how they exit."""

from __future__ import annotations

from pathlib import Path

from rich.progress import TaskProgressColumn

from service.backup.copying import back_up
from service.backup.restoring import Restored, restore
from service.check.shown import Bar, print_failure, print_finding
from service.errors import ServiceError
from trunkline.cli.output import Output
from trunkline.wording import size

DONE, FAILED = 0, 1

_WHAT_IT_HOLDS = (
    "whoever can read it has every tenant's examples and heads; what is forgotten from now on "
    "stays in it"
)
_WHAT_CAME_BACK = (
    "what was forgotten, and keys that were revoked, since the backup was made are back: forget "
    "and revoke them again"
)


def backup_main(file: Path, data_dir: Path, *, replace: bool, as_json: bool) -> int:
    """Makes a backup; returns the exit status."""
    out = Output(as_json)
    try:
        with out.progress(TaskProgressColumn()) as bars:
            bar = Bar(bars)
            bar.begin("copying")
            written = back_up(data_dir, file, replace=replace, advance=bar.advance)
            bar.end()
    except ServiceError as error:
        print_failure(out, str(error))
        return FAILED
    out.result({"file": str(file), "bytes": written}, f"wrote {file} ({size(written)})")
    out.say(_WHAT_IT_HOLDS)
    return DONE


def restore_main(
    file: Path, data_dir: Path, *, move_aside: bool, despite_findings: bool, as_json: bool
) -> int:
    """Restores a backup, if nothing is wrong with it; returns the exit status."""
    out = Output(as_json)
    try:
        with out.progress(TaskProgressColumn()) as bars:
            bar = Bar(bars)
            restored = restore(
                file,
                data_dir,
                move_aside=move_aside,
                despite_findings=despite_findings,
                progress=bar,
            )
            bar.end()
    except ServiceError as error:
        print_failure(out, str(error))
        return FAILED
    _show(out, data_dir, restored)
    return DONE if restored.done else FAILED


def _show(out: Output, data_dir: Path, restored: Restored) -> None:
    moved = None if restored.moved is None else str(restored.moved)
    out.notices(restored.notices)
    if out.as_json:
        stale = None if restored.stale_key is None else str(restored.stale_key)
        named = {"data_dir": str(data_dir), "restored": restored.done, "moved": moved}
        named["stale_key"] = stale
        out.document(named | {"findings": restored.findings, "notices": restored.notices})
    for finding in [] if out.as_json else restored.findings:
        print_finding(out, finding)
    if not restored.done:
        out.say("nothing was restored; --despite-findings restores it all the same")
        return
    if not out.as_json:
        print(f"restored into {data_dir}")
    if moved:
        out.say(f"the store that was there lies in {moved}")
    out.say(_WHAT_CAME_BACK)
    if restored.stale_key is not None:
        out.say(
            f"the key in {restored.stale_key} is not one of this store: use the one that you had, "
            f"or `trunkline keys create --data-dir {data_dir}`"
        )
