"""Who may do what: keys, roles, and the check where a call begins, for both transports."""
