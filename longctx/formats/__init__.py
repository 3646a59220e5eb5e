"""Formats that are not plain text: recognised, unpacked, turned into text. Knows no documents."""
