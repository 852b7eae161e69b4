"""Colours of signs in a text."""

from __future__ import annotations

from esim_bench.tui.signs import Sign

Part = str | tuple[str, str]
"""A piece of a text, and its style."""


def paint(sign: Sign) -> str:
    """Return the style of a sign within a text, where an automatic colour loses its paleness."""
    return "$foreground-muted" if sign.colour == "text-muted" else f"${sign.colour}"
