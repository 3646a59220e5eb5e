"""Exact look-ups: what the names in a question pin down in a text, read off one line without a model."""
