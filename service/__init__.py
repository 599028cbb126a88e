"""The server: extraction, caching, storing, training and predicting, over gRPC and REST."""
