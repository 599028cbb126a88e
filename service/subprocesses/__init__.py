"""What the processes that fit, tune and advise share: frames, start, end."""
