"""Outcomes, steps, the engine and the built-in scenarios."""
