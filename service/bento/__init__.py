"""What BentoML asks for, gives and lacks: the service that it runs, and its supervisor."""
