"""One class for each group of RPCs; only the application imports them."""
