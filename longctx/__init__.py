"""Summaries, checked answers and retrieval proofs over texts of any length, from local hybrid-lightning models."""

__version__ = "0.1.0"
