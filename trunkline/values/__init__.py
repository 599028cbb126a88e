"""What the client takes and gives: inputs, examples, heads, reports, advice."""
