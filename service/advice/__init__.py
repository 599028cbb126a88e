"""Whether transfer pays, in a process for each question."""
