"""Compares whether transfer pays, in a process for each request."""
