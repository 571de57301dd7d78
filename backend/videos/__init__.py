"""Videos and how they come in."""
