"""A fair queue, a fair lock, fair threads, retries, and tasks that are not cancelled."""
