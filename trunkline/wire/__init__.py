"""Messages built from values, tensors and weights."""
