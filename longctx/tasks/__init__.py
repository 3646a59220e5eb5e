"""Tasks: each reads documents with a model and yields progress and a result."""
