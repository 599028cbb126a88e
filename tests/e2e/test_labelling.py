"""Labelling at a terminal, against a real server."""

from __future__ import annotations

from tests.e2e.conftest import TEXTS
from tests.e2e.processes import Running
from tests.terminal import Terminal
from trunkline import Client, NewExample


def test_answers_are_stored_and_taken_back_at_a_terminal(
    server: Running, client: Client, tenant: str, sentences: list[tuple[str, str]]
) -> None:
    head = f"{tenant}/reviews"
    client.create_head(head, TEXTS, keep_inputs=True)
    more = [NewExample(f"so so, {number} of 12") for number in range(12)]
    client.upload(head, [*sentences, *more])
    client.train(head)
    with Terminal(server.grpc, "label", head, "--count", 12) as terminal:
        for row in range(10):  # a batch, which is sent
            terminal.expect(f"[{row + 1}/12] so so, ")
            guess = terminal.expect("%), 2: ").rpartition("Enter: ")[2].split()[0]
            assert guess in ("negative", "positive")
            terminal.answer("positive\n")
        terminal.answer("b\n")
        terminal.expect("taken back: positive")
        terminal.answer("b\n")
        terminal.expect("[9/12]")
        terminal.answer("2\n")
        terminal.answer("q\n")
        status, rest = terminal.end()
    assert (status, "skipped 0" in rest, f"next: trunkline train {head}" in rest) == (0, True, True)
    given = {row.label for row in client.labels(head)}
    assert given == {"negative", "positive"}
    unlabelled = [row for row in client.list_examples(head) if row.label is None]
    assert len(unlabelled) == 3
