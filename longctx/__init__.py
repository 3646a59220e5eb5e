"""Summaries, checked answers and retrieval proofs over long texts, from local hybrid-lightning models."""

__version__ = "0.1.0"
