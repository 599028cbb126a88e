"""Durable jobs, and the steps of one."""
