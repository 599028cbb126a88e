"""One vector for each input: cache, shared computations, store, extractor; views; backfill."""
