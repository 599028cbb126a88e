"""The rows of a request: read, cut into messages, and what became of each. Without a network."""
