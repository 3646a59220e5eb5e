"""Texts: files, folders, pipes and packed repositories as documents. Nothing here knows tokens."""
