"""Replies: stored records and reports as messages."""
