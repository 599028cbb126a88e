"""What clients are told: stored records and reports as messages."""
