"""What the storage holds, beside what is written down of it."""
