"""The client, blocking and asynchronous, and how each sends."""
