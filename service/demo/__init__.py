"""``trunkline demo``: the main job on real data, against a server of its own."""

from __future__ import annotations

import argparse
import http.client
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from service.demo import few, job, keys, progress, table
from service.demo.data import Task, check_packages, load_tasks
from service.demo.errors import DemoError
from service.demo.few import FewShotResult
from service.demo.job import Outcome
from service.demo.rest import RestClient
from service.demo.server import Server, log_tail, running_server
from trunkline import Client, TrunklineError
from trunkline.cli.connection import closed_in_order
from trunkline.cli.interrupts import end_at_once, exit_status
from trunkline.cli.output import Output

FEW_EXAMPLES_OF = "parcelpost/digits"
MIN_FRACTION = 0.1  # with less, some digit would have too few examples to learn from


def demo_main(args: list[str]) -> int:
    """Runs the demo; gives the exit status. A signal ends the process, once all is cleaned up."""
    options = _parse(args)
    try:
        with tempfile.TemporaryDirectory(prefix="trunkline-demo-") as folder:
            return _run(Path(folder), options)
    except KeyboardInterrupt as interrupt:
        print("stopped", file=sys.stderr)
        end_at_once(interrupt)
        return exit_status(interrupt)


def _run(folder: Path, options: argparse.Namespace) -> int:
    log = folder / "server.log"
    started = time.perf_counter()
    try:
        outcomes, few_shot, metrics = _measure(folder, log, options)
    except (DemoError, TrunklineError, OSError, http.client.HTTPException) as error:
        print(f"error: {error}", file=sys.stderr)
        if tail := log_tail(log):
            print(f"the end of the server's log:\n{tail}", file=sys.stderr)
        return 1
    seconds = time.perf_counter() - started
    if options.json:
        Output(as_json=True).document(_document(outcomes, few_shot, metrics, seconds))
    else:
        _show(outcomes, few_shot, metrics, seconds, options)
    return 0


def _measure(
    folder: Path, log: Path, options: argparse.Namespace
) -> tuple[list[Outcome], FewShotResult, list[str]]:
    check_packages()
    progress.title("Starting a server (the first start on a machine exports the backbones)")
    with ExitStack() as stack:
        with progress.bar("start", None):
            tasks = load_tasks(folder, options.fraction)
            server = stack.enter_context(running_server(folder / "data", log))
        progress.done(f"serving gRPC on {server.grpc} and REST on {server.rest}")
        operator = keys.operators_key(folder / "data")
        with Client(server.grpc, token=operator) as client:
            texts = keys.make_keys(client, tasks)
        progress.done(f"made a key for each of {len(texts)} tenants")
        outcomes = [_run_job(task, texts, server) for task in tasks]
        (task,) = (task for task in tasks if task.head == FEW_EXAMPLES_OF)
        client = Client(server.grpc, token=texts[task.head])
        stack.enter_context(closed_in_order(client))
        few_shot = few.run(task, client)
        few.write_report(few_shot.head, client, options.report)
        with closing(RestClient(server.rest, operator)) as rest:
            metrics = table.excerpt(rest.metrics())
    progress.title("The server is stopped")
    return outcomes, few_shot, metrics


def _run_job(task: Task, texts: Mapping[str, str], server: Server) -> Outcome:
    with closed_in_order(Client(server.grpc, token=texts[task.head])) as client:
        return job.run(
            task,
            client,
            partial(RestClient, server.rest, texts[task.head]),
            partial(keys.ask_with_anothers_key, task.head, texts, server),
        )


def _show(
    outcomes: list[Outcome],
    few_shot: FewShotResult,
    metrics: list[str],
    seconds: float,
    options: argparse.Namespace,
) -> None:
    console = table.console(record=options.svg is not None)
    width = console.width if console.is_terminal or options.svg else None
    console.print(table.render(outcomes, few_shot, metrics, width), soft_wrap=True)
    console.print(f"\nThe report of {few_shot.head}, with its plots: {options.report}")
    console.print(f"All of it took {seconds:.0f} s.")
    if options.svg is not None:
        options.svg.parent.mkdir(parents=True, exist_ok=True)
        console.save_svg(str(options.svg), title="trunkline demo", code_format=table.SVG_FORMAT)


def _document(
    outcomes: list[Outcome], few_shot: FewShotResult, metrics: list[str], seconds: float
) -> dict[str, Any]:
    values = dict(line.rsplit(" ", 1) for line in metrics)
    return {
        "tenants": outcomes,
        "few_examples": few_shot,
        "metrics": {name: float(value) for name, value in values.items()},
        "seconds": seconds,
    }


def _parse(args: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="trunkline demo",
        description="Start a server of its own, train three tenants' heads on two backbones with "
        "real data, predict over gRPC and REST, let a head of few examples learn from feedback, "
        "write its report page, print the results, stop.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead")
    parser.add_argument(
        "--fraction", type=_share, default=1.0, help="of the data to use, 0.1 to 1 (default: 1)"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        default=Path("demo-report.html"),
        help="where the report page goes (default: demo-report.html)",
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="keep a picture of the output")
    return parser.parse_args(args)


def _share(text: str) -> float:
    value = float(text)
    if not MIN_FRACTION <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be from {MIN_FRACTION} to 1")
    return value
