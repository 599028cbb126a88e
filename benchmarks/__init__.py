"""Every figure of the README and the docs comes out of a command in here."""
