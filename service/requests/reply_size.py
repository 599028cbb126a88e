"""Whether the reply to a request would be larger than its client takes."""

from __future__ import annotations

from service.errors import InvalidRequest
from service.requests.call import Call

PLAIN_REPLY_BYTES = 4 * 1024 * 1024
"""What every gRPC client takes in one message unless it is told otherwise."""

REPLY_BYTES_KEY = "x-max-reply-bytes"
"""Metadata by which a client says how much it takes."""

ROW_BYTES = 66 + 256
"""A row's digest, and room for its error."""

REST_BYTES = 4096
"""Names and times, once in a reply."""


def read_reply_bytes(text: str | bytes | None) -> int:
    """Reads what a client says of the largest message that it takes.

    Raises:
        InvalidRequest: it is no number of bytes.
    """
    if text is None:
        return PLAIN_REPLY_BYTES
    said = text if isinstance(text, str) else ""
    if not (said.isascii() and said.isdigit() and 0 < len(said) <= 10 and int(said)):
        raise InvalidRequest(
            f"{REPLY_BYTES_KEY}: must be a number of bytes above 0, is {text!r}",
            field=REPLY_BYTES_KEY,
            limit="bytes, above 0",
            value=text,
        )
    return int(said)


def check_reply(call: Call, rows: int, row_bytes: int, once_bytes: int = 0, hint: str = "") -> None:
    """Refuses rows whose reply the client would not take, before there is any work.

    Args:
        row_bytes: size of one row in the reply, without its digest and error.
        once_bytes: size of what all rows share.
        hint: what helps besides sending fewer inputs.

    Raises:
        InvalidRequest: naming the number of inputs that fit.
    """
    if call.reply_bytes is None:
        return
    a_row = row_bytes + ROW_BYTES
    most = max(0, (call.reply_bytes - REST_BYTES - once_bytes) // a_row)
    if rows > most:
        size = REST_BYTES + once_bytes + rows * a_row
        raise InvalidRequest(
            f"inputs: at most {most} in one request, has {rows}: the reply would have some {size} "
            f"bytes, and gRPC clients take {call.reply_bytes}; send fewer at once{hint}, or raise "
            f"grpc.max_receive_message_length and say so in the metadata {REPLY_BYTES_KEY}",
            field="inputs",
            limit=most,
            value=rows,
        )
