"""Tokens of pages: good for their list, across restarts, and telling nothing of other tenants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import InvalidRequest
from tests.service.server import InProcessServer, StartServer, import_request
from trunkline.v1 import heads_pb2

OURS, OTHER, THEIRS = (
    "tenants/acme/heads/one",
    "tenants/acme/heads/two",
    "tenants/rival/heads/one",
)


async def fill(server: InProcessServer) -> None:
    for head in (OURS, OTHER, THEIRS):
        tenant, _, name = head.partition("/heads/")
        for _ in range(2):
            request = import_request()
            request.parent, request.head_id = tenant, name
            await server.ask("ImportHead", request)
        await server.add({"x": "yes", "y": "no", "z": "no"}, head)
        await server.feedback({"x": "yes", "y": "no", "z": "no"}, head)
    await server.create("tenants/rival/heads/two")


Ask = Callable[[str, str], Awaitable[Any]]


def lists_of(server: InProcessServer) -> dict[str, Ask]:
    """Asks for the page of one row that has this token, of each list of a head."""

    async def examples(head: str, token: str) -> Any:
        request = heads_pb2.ListExamplesRequest(head=head, page_size=1, page_token=token)
        return await server.ask("ListExamples", request)

    async def feedback(head: str, token: str) -> Any:
        request = heads_pb2.ListFeedbackRequest(head=head, page_size=1, page_token=token)
        return await server.ask("ListFeedback", request)

    async def versions(head: str, token: str) -> Any:
        request = heads_pb2.ListHeadVersionsRequest(head=head, page_size=1, page_token=token)
        return await server.ask("ListHeadVersions", request)

    async def heads(head: str, token: str) -> Any:
        tenant = head.partition("/heads/")[0]
        request = heads_pb2.ListHeadsRequest(parent=tenant, page_size=1, page_token=token)
        return await server.ask("ListHeads", request)

    return {"examples": examples, "feedback": feedback, "versions": versions, "heads": heads}


async def test_token_is_refused_by_every_other_list(server: InProcessServer) -> None:
    await fill(server)
    lists = lists_of(server)
    tokens = {
        (name, head): (await ask(head, "")).next_page_token
        for name, ask in lists.items()
        for head in (OURS, OTHER, THEIRS)
    }
    assert all(tokens.values())
    assert len(set(tokens.values())) == len(tokens) - 1, "one tenant has one list of heads"
    for (name, head), token in tokens.items():
        await lists[name](head, token)
        for other_name, other_head in tokens:
            same = (other_name, other_head) == (name, head) or (
                name == other_name == "heads" and (head == THEIRS) == (other_head == THEIRS)
            )
            if not same:
                with pytest.raises(InvalidRequest, match="page_token"):
                    await lists[other_name](other_head, token)


async def test_token_of_a_head_made_anew_under_its_name_is_refused(
    server: InProcessServer,
) -> None:
    await fill(server)
    examples = lists_of(server)["examples"]
    token = (await examples(OURS, "")).next_page_token
    await server.ask("DeleteHead", heads_pb2.DeleteHeadRequest(name=OURS))
    await server.create(OURS)
    await server.add({"x": "a", "y": "a"}, OURS)
    with pytest.raises(InvalidRequest, match="begin without one"):
        await examples(OURS, token)


async def test_list_goes_on_after_a_restart(start_server: StartServer, tmp_path: Path) -> None:
    async with start_server() as server:
        await fill(server)
        token = (await lists_of(server)["examples"](OURS, "")).next_page_token
    key = tmp_path / "page-tokens.key"
    assert key.stat().st_mode & 0o077 == 0
    async with start_server() as server:
        assert (await lists_of(server)["examples"](OURS, token)).examples
    key.write_bytes(b"cut off")
    async with start_server() as server:
        with pytest.raises(InvalidRequest, match="begin without one"):
            await lists_of(server)["examples"](OURS, token)


async def test_key_goes_nowhere_but_into_a_new_file(
    start_server: StartServer, tmp_path: Path
) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    elsewhere.write_bytes(b"")
    (tmp_path / "page-tokens.part").symlink_to(elsewhere)
    async with start_server():
        pass
    key = tmp_path / "page-tokens.key"
    assert not key.is_symlink()
    assert (key.stat().st_size, key.stat().st_mode & 0o777) == (32, 0o600)
    assert elsewhere.read_bytes() == b""


async def test_server_starts_where_no_key_can_be_written(
    start_server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "page-tokens.part").mkdir()  # takes neither a file nor its deletion
    async with start_server() as server:
        await fill(server)
        token = (await lists_of(server)["examples"](OURS, "")).next_page_token
        assert (await lists_of(server)["examples"](OURS, token)).examples


async def test_token_names_the_longest_head_and_is_good_for_the_list_of_all_tenants(
    server: InProcessServer,
) -> None:
    names = [f"tenants/{letter * 63}/heads/{letter * 63}" for letter in "abc"]
    for name in names:
        await server.create(name)
    listed: list[str] = []
    token = ""
    for _ in names:
        request = heads_pb2.ListHeadsRequest(parent="tenants/-", page_size=1, page_token=token)
        page = await server.ask("ListHeads", request)
        listed += [head.name for head in page.heads]
        last, token = token, page.next_page_token
    assert (listed, token) == (names, "")
    for parent in ("tenants/a", f"tenants/{'a' * 63}"):
        request = heads_pb2.ListHeadsRequest(parent=parent, page_token=last)
        with pytest.raises(InvalidRequest, match="page_token"):
            await server.ask("ListHeads", request)
