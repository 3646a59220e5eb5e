"""The reader: a small model taught to answer ordinary questions from one passage, or to refuse."""
