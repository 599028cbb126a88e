"""What ``trunkline check`` prints, and how it exits."""

from __future__ import annotations

from pathlib import Path

from rich.progress import TaskProgressColumn

from service.check.checks import run_checks
from service.check.findings import Finding, Store
from service.check.read_only import has_journal, open_read_only
from service.check.shown import Bar, print_failure, print_finding
from service.errors import ServiceError
from trunkline.cli.output import Output
from trunkline.values.notices import Notice

CLEAN, FOUND, UNREADABLE = 0, 1, 2


def check_main(data_dir: Path, *, as_json: bool) -> int:
    """Checks a data directory and says what is wrong; returns the exit status."""
    out, notices = Output(as_json), list[Notice]()
    try:
        had_journal = has_journal(data_dir)
        found = _look(data_dir, out, notices)
    except ServiceError as error:
        return _unreadable(out, str(error))
    except OSError as error:
        return _unreadable(out, f"data_dir: {data_dir} cannot be checked: {error.strerror}")
    if has_journal(data_dir) != had_journal:
        words = "a server was started or stopped meanwhile: what was found may be of both times"
        notices.append(Notice("store_changed", words, 1))
    out.notices(notices)
    if as_json:
        out.document({"data_dir": str(data_dir), "findings": found, "notices": notices})
    else:
        for finding in found:
            print_finding(out, finding)
        out.say(f"found: {len(found)}" if found else "nothing wrong was found")
    return FOUND if found else CLEAN


def _unreadable(out: Output, words: str) -> int:
    print_failure(out, words)
    return UNREADABLE


def _look(data_dir: Path, out: Output, notices: list[Notice]) -> list[Finding]:
    with open_read_only(data_dir) as connection, out.progress(TaskProgressColumn()) as bars:
        bar = Bar(bars)
        store = Store(connection, data_dir, bar.advance, notices)
        found = list(run_checks(store, bar.begin))
        bar.end()
    return found
