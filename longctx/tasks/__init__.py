"""What a user asks for: each task reads documents through a session and yields progress and a result."""
