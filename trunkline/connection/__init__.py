"""A channel to the server, when to try again, and what went wrong."""
