"""BentoML: its supervisor, and what it would keep or say by itself."""
