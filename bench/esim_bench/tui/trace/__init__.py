"""The trace of slots."""
