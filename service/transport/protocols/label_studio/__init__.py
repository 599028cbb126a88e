"""Label Studio's machine learning backend: predictions before people, and what people say after."""
