"""Protocols that other servers' clients speak, in front of the same handlers."""
