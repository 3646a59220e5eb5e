"""Token ids: streams of them with their places in the text. Nothing here knows models."""
