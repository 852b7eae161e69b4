"""A conversation with one card: channels, chaining, status words, ES10, the guard."""

from esim_bench.card.card import Card, Response, terminal_capability
from esim_bench.card.guard import Guard

__all__ = ["Card", "Guard", "Response", "terminal_capability"]
