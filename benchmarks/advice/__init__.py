"""Whether what is advised is right: ``make bench-advice``."""
