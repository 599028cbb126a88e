"""How long the streams of an upload are: only the end of one acknowledges its rows."""

_SECONDS = 2.0


class StreamLength:
    """How many messages a stream has, so that its reply comes after about two seconds.

    Longer ones would keep a person waiting for a sign, and more would be sent again after a break;
    shorter ones would let the server wait for the network between any two of them.
    """

    def __init__(self) -> None:
        self.messages = 1

    def took(self, messages: int, seconds: float) -> None:
        """Learns how long a stream of so many messages took; the next is twice as long at most."""
        fitting = int(messages * _SECONDS / max(seconds, 1e-9))
        self.messages = max(1, min(2 * self.messages, fitting))
