"""A fair queue, turns by tenant, and tasks that are not cut off."""
