"""What can be quoted without a model: passages, sentences, outlines. Nothing here knows tokens."""
