"""Practice sessions: people seen in videos, their movement in numbers, and pictures a coach can use."""
