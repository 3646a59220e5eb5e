"""What was read is kept: a reading's tokens, logs and states on disk, proven before they are used again."""
