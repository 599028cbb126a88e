"""Steps that many tests of the client begin with."""

from collections.abc import Callable
from typing import Any

import grpc
from click.testing import Result

from trunkline import Client

Run = Callable[..., Result]
TEXTS = [("good", "yes"), ("fine", "yes"), ("bad", "no"), ("awful", "no")]


def trained(client: Client, head: str = "acme/mood") -> None:
    client.create_head(head, "minilm/l6-v2")
    client.add_examples(head, TEXTS)
    client.train(head)


def unavailable(_: Any, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
