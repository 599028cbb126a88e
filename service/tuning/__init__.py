"""A tail from activations, in a process of its own."""
