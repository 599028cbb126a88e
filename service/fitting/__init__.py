"""A head from embeddings, in a process of its own."""
