"""What takes several calls, as generators that do no I/O."""
